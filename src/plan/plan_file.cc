#include "plan/plan_file.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace arkvale {
namespace {

// Keys in order: nlohmann's ordered_json looks for a key among all before it, which a hostile file makes slow.
using Json = nlohmann::json;

constexpr int kMaxNesting = 16;  // a Json is written recursively

// Refuses what the parser lets pass: deep nesting and keys that come twice.
class ParseRules {
 public:
  // nlohmann's callback. False drops the value; after the first error all are.
  bool Allow(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (!status_.ok()) return false;
    if ((event == Event::object_start || event == Event::array_start) && depth >= kMaxNesting) {
      status_ = Corrupt("more than " + std::to_string(kMaxNesting) + " lists and objects in each other");
    } else if (event == Event::object_start) {
      keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      status_ = Corrupt("field " + parsed.dump(-1, ' ', true).substr(0, 80) + " stands twice in one object");
    }
    return status_.ok();
  }
  const Status& status() const { return status_; }

 private:
  Status status_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

Status NoJson(size_t byte, size_t n_bytes) {
  return Corrupt("no JSON at byte " + std::to_string(byte) + " of " + std::to_string(n_bytes) +
                 ": the file is cut off or damaged");
}

Result<Json> ParseJson(std::string_view text) {
  // The parser takes a zero byte for the end.
  if (const size_t zero = text.find('\0'); zero != text.npos) return NoJson(zero + 1, text.size());
  ParseRules rules;
  try {
    Json json = Json::parse(text.begin(), text.end(), [&](int depth, Json::parse_event_t event, Json& parsed) {
      return rules.Allow(depth, event, parsed);
    });
    ARKVALE_RETURN_IF_ERROR(rules.status());
    return json;
  } catch (const Json::parse_error& error) {
    ARKVALE_RETURN_IF_ERROR(rules.status());
    return NoJson(error.byte, text.size());
  } catch (const Json::exception&) {  // out_of_range
    return Corrupt("a number is too large for any computer");
  }
}

// A value for a message: ASCII, one line, not long.
std::string Shown(const Json& value) {
  constexpr size_t kMaxShown = 40;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() <= kMaxShown ? text : text.substr(0, kMaxShown) + "...";
}

// Reads the fields of one object; the first error stays.
class Fields {
 public:
  // `where` opens the messages, for example "layer 3: ".
  Fields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) Fail("is " + Shown(object) + ", not an object");
  }

  const Status& status() const { return status_; }

  void AllowOnly(std::initializer_list<std::string_view> known) {
    if (!status_.ok()) return;
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known.begin(), known.end(), key) == known.end()) return Fail("field " + Shown(key) + " is unknown");
    }
  }

  const Json* Find(const char* name) {
    if (!status_.ok()) return nullptr;
    const auto found = object_.find(name);
    if (found != object_.end()) return &*found;
    Fail("field \"" + std::string(name) + "\" is missing");
    return nullptr;
  }

  template <typename Int>
  void Whole(const char* name, Int& value) {
    const Json* json = Find(name);
    if (json == nullptr) return;
    const bool fits = json->is_number_unsigned()  ? std::in_range<Int>(json->get<uint64_t>())
                      : json->is_number_integer() ? std::in_range<Int>(json->get<int64_t>())
                                                  : false;
    if (!fits) return Wrong(name, *json, "a whole number of " + std::to_string(8 * sizeof(Int)) + " bits");
    value = json->get<Int>();
  }

  void Text(const char* name, std::string& value) {
    const Json* json = Find(name);
    if (json == nullptr) return;
    if (!json->is_string()) return Wrong(name, *json, "a string");
    value = json->get<std::string>();
  }

  void Wrong(const char* name, const Json& value, const std::string& wanted) {
    Fail("field \"" + std::string(name) + "\" is " + Shown(value) + ", not " + wanted);
  }

 private:
  void Fail(const std::string& what) {
    if (status_.ok()) status_ = Corrupt(where_ + what);
  }

  const Json& object_;
  std::string where_;
  Status status_;
};

Status ReadVersion(Fields& fields) {
  const Json* version = fields.Find("version");
  if (version == nullptr || *version == kPlanVersion) return fields.status();
  return Corrupt("plan version " + Shown(*version) + " is unknown: this program reads version " +
                 std::to_string(kPlanVersion) + "; make the plan again with arkvale plan");
}

void ReadKind(Fields& fields, PlanKind& kind) {
  const Json* json = fields.Find("kind");
  if (json == nullptr) return;
  for (const PlanKind known : {PlanKind::kXkv, PlanKind::kArkvale}) {
    if (*json == PlanKindName(known)) {
      kind = known;
      return;
    }
  }
  fields.Wrong("kind", *json, "\"xkv\" or \"arkvale\"");
}

Status ReadLayers(Fields& fields, std::vector<std::optional<LayerPlan>>& layers) {
  const Json* list = fields.Find("layers");
  if (list == nullptr) return fields.status();
  if (!list->is_array()) fields.Wrong("layers", *list, "a list");
  ARKVALE_RETURN_IF_ERROR(fields.status());
  for (const Json& entry : *list) {
    if (entry.is_null()) {
      layers.emplace_back();
      continue;
    }
    LayerPlan layer;
    Fields of_layer(entry, "layer " + std::to_string(layers.size()) + ": ");
    of_layer.AllowOnly({"budget_tokens", "topk_pages"});
    of_layer.Whole("budget_tokens", layer.budget_tokens);
    of_layer.Whole("topk_pages", layer.topk_pages);
    ARKVALE_RETURN_IF_ERROR(of_layer.status());
    layers.emplace_back(layer);
  }
  return OkStatus();
}

void ReadMadeBy(Fields& fields, KvPlan& plan) {
  const Json* json = fields.Find("made_by");
  if (json == nullptr) return;
  if (!json->is_object()) return fields.Wrong("made_by", *json, "an object");
  Json made_by = *json;
  const auto model = made_by.find("model");
  if (model != made_by.end() && model->is_string()) {
    plan.model_name = model->get<std::string>();
    made_by.erase(model);
  }
  plan.made_by = made_by.dump();
}

// Bytes that are not UTF-8 become U+FFFD.
std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

Result<KvPlan> ParsePlan(std::string_view text) {
  if (text.size() > kMaxPlanBytes) {
    return Corrupt(std::to_string(text.size()) + " bytes > " + std::to_string(kMaxPlanBytes) + ": this is no plan");
  }
  ARKVALE_ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  KvPlan plan;
  Fields fields(json, "");
  ARKVALE_RETURN_IF_ERROR(ReadVersion(fields));
  fields.AllowOnly({"version", "kind", "model_fingerprint", "page_tokens", "window_tokens", "layers", "made_by"});
  ReadKind(fields, plan.kind);
  fields.Text("model_fingerprint", plan.model_fingerprint);
  fields.Whole("page_tokens", plan.page_tokens);
  fields.Whole("window_tokens", plan.window_tokens);
  ARKVALE_RETURN_IF_ERROR(ReadLayers(fields, plan.layers));
  ReadMadeBy(fields, plan);
  ARKVALE_RETURN_IF_ERROR(fields.status());
  if (const Status status = plan.Validate(); !status.ok()) return Corrupt(status.message());
  return plan;
}

Result<std::string> FormatPlan(const KvPlan& plan) {
  ARKVALE_RETURN_IF_ERROR(plan.Validate());
  auto made_by = ParseJson(plan.made_by);
  if (!made_by.ok()) return InvalidArgument("made_by: " + made_by.status().message());
  if (!made_by->is_object()) return InvalidArgument("made_by is " + Shown(*made_by) + ", not an object");
  if (!plan.model_name.empty()) (*made_by)["model"] = plan.model_name;
  std::string text = "{\"version\":" + std::to_string(kPlanVersion) + ", \"kind\":\"" +
                     std::string(PlanKindName(plan.kind)) +
                     "\", \"model_fingerprint\":" + Dump(Json(plan.model_fingerprint)) +
                     ",\n \"page_tokens\":" + std::to_string(plan.page_tokens) +
                     ", \"window_tokens\":" + std::to_string(plan.window_tokens) + ",\n \"layers\":[";
  const char* separator = "\n  ";
  for (const std::optional<LayerPlan>& layer : plan.layers) {
    text += separator;
    text += layer ? "{\"budget_tokens\":" + std::to_string(layer->budget_tokens) +
                        ", \"topk_pages\":" + std::to_string(layer->topk_pages) + "}"
                  : "null";
    separator = ",\n  ";
  }
  text += "],\n \"made_by\":" + Dump(*made_by) + "}\n";
  if (text.size() <= kMaxPlanBytes) return text;
  return InvalidArgument("a plan of " + std::to_string(text.size()) + " bytes > " + std::to_string(kMaxPlanBytes) +
                         ": shorten made_by");
}

}  // namespace arkvale
