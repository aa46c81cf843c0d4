#include "text/jinja.h"

#include <jinja/budget.h>
#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>

#include <algorithm>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "text/utf8.h"

namespace arkvale {
namespace {

constexpr size_t kMaxErrorBytes = 400;

Status TemplateError(std::string_view text) {
  return InvalidArgument("the model's chat template cannot be used: " + std::string(text));
}

// While it lives, the engine's work on this thread is counted.
class BudgetScope {
 public:
  explicit BudgetScope(size_t units) : budget_{.units = units} { jinja::current_budget = &budget_; }
  ~BudgetScope() { jinja::current_budget = nullptr; }
  BudgetScope(const BudgetScope&) = delete;
  BudgetScope& operator=(const BudgetScope&) = delete;

 private:
  jinja::budget budget_;
};

size_t Units(std::span<const ChatMessage> messages) {
  size_t units = kTemplateBudget;
  for (const ChatMessage& message : messages) units += kMessageBudget + kContentBudget * message.content.size();
  return units;
}

// The engine's message has the place and a part of the source on lines of their own: one line remains, valid UTF-8.
std::string OneLine(std::string_view what) {
  std::string_view place;
  if (const size_t begin = what.find(" at line "); begin != std::string_view::npos) {
    place = what.substr(begin + 4, what.find(" in source", begin) - begin - 4);
  }
  constexpr std::string_view kError = "\nError: ", kRaised = "Jinja Exception: ";
  if (const size_t error = what.find(kError); error != std::string_view::npos) {
    what.remove_prefix(error + kError.size());
  } else {
    what = what.substr(0, what.find("\n..."));
  }
  if (what.starts_with(kRaised)) what.remove_prefix(kRaised.size());
  std::string line;
  AppendValidUtf8(what.substr(0, kMaxErrorBytes), line);
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < ' '; }, ' ');
  if (!place.empty()) line += " (" + std::string(place) + ")";
  return line;
}

// Counts how deep the parser and the tree that it makes would nest, which is their recursion.
class NestingCheck {
 public:
  Status Add(const jinja::token& token) {
    ++tag_tokens_;
    switch (token.t) {
      case jinja::token::open_statement:
      case jinja::token::open_expression:
        tag_tokens_ = brackets_ = 0;
        name_ = token.t == jinja::token::open_statement ? "" : "expression";
        assigns_ = false;
        break;
      case jinja::token::open_paren:
      case jinja::token::open_square_bracket:
      case jinja::token::open_curly_bracket: ++brackets_; break;
      case jinja::token::close_paren:
      case jinja::token::close_square_bracket:
      case jinja::token::close_curly_bracket: --brackets_; break;
      case jinja::token::equals: assigns_ = true; break;
      case jinja::token::identifier:
        if (name_.empty()) name_ = token.value;
        break;
      case jinja::token::close_statement: CloseStatement(); break;
      default: break;
    }
    if (tag_tokens_ > kMaxTagTokens) {
      return TemplateError("a tag of more than " + std::to_string(kMaxTagTokens) + " tokens");
    }
    if (std::max(brackets_, n_blocks_) > static_cast<int64_t>(kMaxTemplateNesting)) {
      return TemplateError("more than " + std::to_string(kMaxTemplateNesting) + " blocks or brackets in each other");
    }
    return OkStatus();
  }

 private:
  void CloseStatement() {
    const bool opens = name_ == "if" || name_ == "for" || name_ == "macro" || name_ == "call" || name_ == "filter" ||
                       (name_ == "set" && !assigns_);
    if (opens) {
      blocks_.push_back(1);
      ++n_blocks_;
    } else if (name_ == "elif" && !blocks_.empty()) {  // the parser nests it
      ++blocks_.back();
      ++n_blocks_;
    } else if (name_.starts_with("end") && name_ != "endgeneration" && !blocks_.empty()) {
      n_blocks_ -= blocks_.back();
      blocks_.pop_back();
    }
  }

  size_t tag_tokens_ = 0;
  int64_t brackets_ = 0, n_blocks_ = 0;
  bool assigns_ = false;
  std::string name_;             // of the tag
  std::vector<int64_t> blocks_;  // open ones: levels of each
};

// The engine would move the whole rest of the text for each "\r\n".
std::string PlainNewlines(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      plain += text[i];
    } else if (i + 1 == text.size() || text[i + 1] != '\n') {
      plain += '\n';
    }
  }
  return plain;
}

Result<jinja::program> Parse(const std::string& source) {
  const jinja::lexer_result tokens = jinja::lexer().tokenize(source);
  NestingCheck nesting;
  for (const jinja::token& token : tokens.tokens) ARKVALE_RETURN_IF_ERROR(nesting.Add(token));
  return jinja::parse_from_tokens(tokens);
}

jinja::value Text(const std::string& text) { return jinja::mk_val<jinja::value_string>(text); }

void SetVariables(jinja::context& context, const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                  bool open_answer) {
  auto list = jinja::mk_val<jinja::value_array>();
  for (size_t i = 0; i < messages.size(); ++i) {
    auto content = jinja::mk_val<jinja::value_string>(messages[i].content);
    content->mark_input(static_cast<int>(i) + 1);
    auto message = jinja::mk_val<jinja::value_object>();
    message->insert("role", Text(messages[i].role));
    message->insert("content", content);
    list->push_back(std::move(message));
  }
  context.set_val("messages", list);
  context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(open_answer));
  context.set_val("bos_token", Text(chat_template.bos));
  context.set_val("eos_token", Text(chat_template.eos));
  context.set_val("tools", jinja::mk_val<jinja::value_none>());
  context.set_val("documents", jinja::mk_val<jinja::value_none>());
}

std::vector<TextSegment> Segments(const jinja::value& rendered) {
  std::vector<TextSegment> segments;
  const jinja::value_string parts = jinja::runtime::gather_string_parts(rendered);
  for (jinja::string_part& part : parts->val_str.parts) {
    if (part.val.empty()) continue;
    const int32_t message = part.is_input - 1;
    if (!segments.empty() && segments.back().message == message) {
      segments.back().text += part.val;
    } else {
      segments.push_back({std::move(part.val), message < 0, message});
    }
  }
  return segments;
}

}  // namespace

Result<std::vector<TextSegment>> RunJinja(const ChatTemplate& chat_template, std::span<const ChatMessage> messages,
                                          bool open_answer) {
  if (chat_template.source.size() > kMaxTemplateBytes) {
    return TemplateError(std::to_string(chat_template.source.size()) + " bytes > limit " +
                         std::to_string(kMaxTemplateBytes));
  }
  if (FirstInvalidUtf8(chat_template.source) != std::string_view::npos) return TemplateError("invalid UTF-8");
  const std::string source = PlainNewlines(chat_template.source);
  const BudgetScope budget(Units(messages));
  try {
    ARKVALE_ASSIGN_OR_RETURN(const jinja::program program, Parse(source));
    jinja::context context(source);
    SetVariables(context, chat_template, messages, open_answer);
    return Segments(jinja::runtime(context).execute(program));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory while rendering the chat template");
  } catch (const std::exception& e) {
    return TemplateError(OneLine(e.what()));
  }
}

}  // namespace arkvale
