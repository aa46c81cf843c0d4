#include "tools/eval/quality_log.h"

#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "base/sha256.h"
#include "tools/common/replace_file.h"

namespace arkvale::tools {
namespace {

constexpr size_t kHashPrefix = 16;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream stream;
  stream << file.rdbuf();
  return stream.str();
}

Json ParseRecord(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_object() && json.contains("record") ? json["record"] : Json(nullptr);
}

// Where a line stands in its record.
struct Mark {
  std::string work;
  int64_t line = 0, lines = 0;  // 0 lines: the text is no line of a marked record
};

Mark MarkOf(const std::string& text) {
  const Json record = ParseRecord(text);
  if (!record.is_object()) return {};
  const auto integer = [&](const char* name) {
    const auto found = record.find(name);
    return found != record.end() && found->is_number_integer() ? found->get<int64_t>() : -1;
  };
  const auto work = record.find("work_sha256_prefix");
  const int64_t line = integer("line"), lines = integer("lines");
  if (work == record.end() || !work->is_string() || line < 0 || line >= lines) return {};
  return {work->get<std::string>(), line, lines};
}

}  // namespace

std::string WorkId(const Json& setup, const QualityInput& input) {
  const Json work = {
      {"setup", setup}, {"id", input.id}, {"context", input.context}, {"fed", input.fed}, {"answers", input.answers}};
  return Sha256Hex(Dump(work)).substr(0, kHashPrefix);
}

void MarkLines(const std::string& work, std::vector<Json>& lines) {
  for (size_t i = 0; i < lines.size(); ++i) {
    lines[i].update({{"work_sha256_prefix", work}, {"line", i}, {"lines", lines.size()}});
  }
}

Result<EarlierRecords> EarlierRecords::Load(const std::string& dir, std::span<const std::string> works) {
  EarlierRecords earlier;
  if (dir.empty()) return earlier;
  const std::string path = dir + "/records.jsonl";
  const std::string before = ReadAll(path);
  const std::set<std::string> wanted(works.begin(), works.end());
  struct Found {
    int64_t lines = 0;
    std::map<int64_t, std::string> texts;  // by place
  };
  std::map<std::string, Found> found;
  std::vector<std::pair<std::string, int64_t>> order;  // in the file, each line once
  for (size_t begin = 0, end = 0; (end = before.find('\n', begin)) != std::string::npos; begin = end + 1) {
    std::string text = before.substr(begin, end - begin);
    const Mark mark = MarkOf(text);
    if (mark.lines == 0 || !wanted.contains(mark.work)) continue;
    Found& record = found.try_emplace(mark.work, Found{mark.lines, {}}).first->second;
    if (record.lines != mark.lines || !record.texts.emplace(mark.line, std::move(text)).second) continue;
    order.emplace_back(mark.work, mark.line);
  }
  std::erase_if(found, [](const auto& one) { return std::ssize(one.second.texts) < one.second.lines; });
  std::string after;
  for (const auto& [work, place] : order) {
    const auto whole = found.find(work);
    if (whole != found.end()) after += whole->second.texts[place] + "\n";
  }
  if (after != before) ARKVALE_RETURN_IF_ERROR(ReplaceFile(path, after));
  for (auto& [work, record] : found) {
    for (auto& [place, text] : record.texts) earlier.texts_[work].push_back(std::move(text));
  }
  return earlier;
}

std::vector<Json> EarlierRecords::Lines(const std::string& work) const {
  std::vector<Json> lines;
  const auto found = texts_.find(work);
  if (found == texts_.end()) return lines;
  for (const std::string& text : found->second) lines.push_back(ParseRecord(text));
  return lines;
}

}  // namespace arkvale::tools
