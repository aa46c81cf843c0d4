#include "text/grammar.h"

#include <json-schema-to-grammar.h>
#include <json.h>
#include <llama.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <string_view>
#include <utility>

#include "text/large_stack.h"
#include "text/llama_log.h"
#include "text/utf8.h"

namespace arkvale {
namespace {

constexpr size_t kMaxQuotedBytes = 300;

struct SamplerDeleter {
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};
using LlamaSampler = std::unique_ptr<llama_sampler, SamplerDeleter>;

// One line of valid UTF-8.
std::string Quoted(std::string_view text) {
  std::string line;
  AppendValidUtf8(text.substr(0, kMaxQuotedBytes), line);
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < ' '; }, ' ');
  return line;
}

// libllama says where by the rest of the source: "expecting name at <all that follows>".
std::string GbnfReason(std::string_view reason, std::string_view source) {
  constexpr std::string_view kFirst = "error parsing grammar: ", kLast = "; failed to parse grammar";
  if (reason.ends_with(kLast)) reason.remove_suffix(kLast.size());
  if (reason.starts_with(kFirst)) reason.remove_prefix(kFirst.size());
  while (source.ends_with('\n')) source.remove_suffix(1);
  const size_t at = reason.find(" at ");
  if (at == std::string_view::npos) return Quoted(reason);
  const std::string_view rest = reason.substr(at + 4);
  if (!source.ends_with(rest)) return Quoted(reason);
  const std::string_view before = source.substr(0, source.size() - rest.size());
  const auto line = std::ranges::count(before, '\n') + 1;
  const size_t column = before.size() - (before.rfind('\n') + 1) + 1;
  return Quoted(reason.substr(0, at)) + " at line " + std::to_string(line) + ", column " + std::to_string(column) +
         (rest.empty() ? " (the end)" : ": '" + Quoted(rest.substr(0, std::min<size_t>(rest.find('\n'), 40))) + "'");
}

Status CheckSource(std::string_view what, std::string_view source, size_t max_bytes) {
  if (source.size() > max_bytes) {
    return InvalidArgument(std::string(what) + " of " + std::to_string(source.size()) + " bytes > limit " +
                           std::to_string(max_bytes));
  }
  if (const size_t bad = FirstInvalidUtf8(source); bad != std::string_view::npos) {
    return InvalidArgument(std::string(what) + ": invalid UTF-8 at byte " + std::to_string(bad));
  }
  if (const size_t nul = source.find('\0'); nul != std::string_view::npos) {
    return InvalidArgument(std::string(what) + ": a zero at byte " + std::to_string(nul));
  }
  return OkStatus();
}

Result<std::string> SchemaToGbnf(const std::string& schema) {
  try {
    return json_schema_to_grammar(common_json::parse(schema));
  } catch (const std::exception& e) {
    constexpr std::string_view kFirst = "JSON schema conversion failed:\n";
    std::string_view reason = e.what();
    if (reason.starts_with(kFirst)) reason.remove_prefix(kFirst.size());
    return InvalidArgument("the JSON schema cannot be used: " + Quoted(reason));
  }
}

Result<LlamaSampler> Parse(const std::string& gbnf, const llama_vocab* vocab) {
  const LlamaErrors errors;
  try {
    LlamaSampler sampler(llama_sampler_init_grammar(vocab, gbnf.c_str(), "root"));
    if (sampler != nullptr) return sampler;
    return InvalidArgument("the grammar cannot be used: " + GbnfReason(errors.Text(), gbnf));
  } catch (const std::exception& e) {
    return InvalidArgument("the grammar cannot be used: " + Quoted(e.what()));
  }
}

Result<LlamaSampler> Make(const SamplingOptions& options, const llama_vocab* vocab) {
  if (options.json_schema.empty()) return Parse(options.grammar, vocab);
  ARKVALE_ASSIGN_OR_RETURN(const std::string gbnf, SchemaToGbnf(options.json_schema));
  return Parse(gbnf, vocab);
}

}  // namespace

struct Grammar::Impl {
  LlamaSampler sampler;
  const llama_vocab* vocab = nullptr;

  bool IsTextless(int32_t id) const { return llama_vocab_is_control(vocab, id) && !llama_vocab_is_eog(vocab, id); }
};

Result<std::unique_ptr<Grammar>> Grammar::Create(const SamplingOptions& options, const Tokenizer& tokenizer) {
  if (options.grammar.empty() && options.json_schema.empty()) return std::unique_ptr<Grammar>();
  if (!options.grammar.empty() && !options.json_schema.empty()) {
    return InvalidArgument("a grammar and a JSON schema: give one of them");
  }
  ARKVALE_RETURN_IF_ERROR(CheckSource("a grammar", options.grammar, kMaxGrammarBytes));
  ARKVALE_RETURN_IF_ERROR(CheckSource("a JSON schema", options.json_schema, kMaxSchemaBytes));
  Result<LlamaSampler> sampler = Internal("not made");
  // The parsers recurse with the nesting of the source.
  ARKVALE_RETURN_IF_ERROR(RunOnLargeStack([&] { sampler = Make(options, tokenizer.vocab()); }));
  if (!sampler.ok()) return sampler.status();
  auto impl = std::make_unique<Impl>();
  impl->sampler = std::move(sampler).value();
  impl->vocab = tokenizer.vocab();
  return std::unique_ptr<Grammar>(new Grammar(std::move(impl)));
}

Grammar::Grammar(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Grammar::~Grammar() = default;

Result<bool> Grammar::Allows(int32_t id) const {
  llama_token_data candidate = {id, 0.0f, 0.0f};
  ARKVALE_RETURN_IF_ERROR(Restrict({&candidate, 1}));
  return std::isfinite(candidate.logit);
}

Status Grammar::Restrict(std::span<llama_token_data> candidates) const {
  llama_token_data_array array = {candidates.data(), candidates.size(), -1, false};
  try {
    llama_sampler_apply(impl_->sampler.get(), &array);
  } catch (const std::exception& e) {
    return InvalidArgument(Quoted(e.what()));
  }
  for (llama_token_data& candidate : candidates) {
    if (impl_->IsTextless(candidate.id)) candidate.logit = -INFINITY;
  }
  return OkStatus();
}

Status Grammar::Accept(int32_t id) {
  try {
    llama_sampler_accept(impl_->sampler.get(), id);
  } catch (const std::exception& e) {
    return InvalidArgument(Quoted(e.what()));
  }
  return OkStatus();
}

}  // namespace arkvale
