#include "tools/eval/longbench_records.h"

#include <utility>

#include "tools/common/json_lines.h"

namespace arkvale::tools {
namespace {

// What a field must be, or an empty text where it is.
std::string Wrong(const Json& json, const char* name, bool (*is_right)(const Json&), const char* wanted) {
  const bool is_there = json.contains(name);
  if (is_there && is_right(json[name])) return "";
  std::string wrong = "'";
  wrong.append(name).append(is_there ? "' is not " : "' is missing: it must be ").append(wanted);
  return wrong;
}

bool IsText(const Json& json) { return json.is_string(); }
bool IsWholeNumber(const Json& json) { return json.is_number_integer(); }
bool IsTextList(const Json& json) {
  if (!json.is_array() || json.empty()) return false;
  for (const Json& item : json) {
    if (!item.is_string()) return false;
  }
  return true;
}

std::string WrongField(const Json& json, bool wants_classes) {
  for (const char* name : {"_id", "input", "context"}) {
    if (std::string wrong = Wrong(json, name, IsText, "a text"); !wrong.empty()) return wrong;
  }
  constexpr const char* kTexts = "a list of one or more texts";
  if (std::string wrong = Wrong(json, "answers", IsTextList, kTexts); !wrong.empty()) return wrong;
  if (std::string wrong = Wrong(json, "length", IsWholeNumber, "a whole number"); !wrong.empty()) return wrong;
  return wants_classes ? Wrong(json, "all_classes", IsTextList, kTexts) : "";
}

}  // namespace

std::string LongBenchPath(const std::string& dir, const std::string& set) { return dir + "/" + set + ".jsonl"; }

Result<std::vector<LongBenchRecord>> ReadLongBench(const std::string& path, bool wants_classes) {
  std::vector<LongBenchRecord> records;
  ARKVALE_RETURN_IF_ERROR(ReadJsonLines(path, "record", [&](const Json& json, int64_t /*line*/) {
    if (const std::string wrong = WrongField(json, wants_classes); !wrong.empty()) return Corrupt(wrong);
    LongBenchRecord record{.id = json["_id"],
                           .input = json["input"],
                           .context = json["context"],
                           .answers = json["answers"],
                           .classes = {},
                           .length_words = json["length"]};
    if (wants_classes) record.classes = json["all_classes"].get<std::vector<std::string>>();
    records.push_back(std::move(record));
    return OkStatus();
  }));
  if (records.empty()) return Corrupt(path + ": the file holds no record");
  return records;
}

}  // namespace arkvale::tools
