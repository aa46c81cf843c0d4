#include "model/model_file.h"

#include <array>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>

namespace arkvale {

namespace {

// What the name of a part ends in.
std::string PartSuffix(int no, int count) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "-%05d-of-%05d.gguf", no + 1, count);
  return text.data();
}

}  // namespace

Status ModelFile::AddPart(const std::string& path, uint16_t no) {
  auto opened = MappedFile::Open(path);
  if (opened.status().kind() == StatusKind::kNotFound) {
    return NotFound(opened.status().message() + ": it is part " + std::to_string(no + 1) + " of " + view_.name());
  }
  ARKVALE_ASSIGN_OR_RETURN(MappedFile file, std::move(opened));
  ARKVALE_ASSIGN_OR_RETURN(const GgufView part, GgufView::Parse(file.bytes(), path));
  ARKVALE_ASSIGN_OR_RETURN(const auto part_no, part.U16("split.no"));
  if (part_no != no) {
    return part.Error("key split.no is " + (part_no ? std::to_string(*part_no) : "missing") + ", expected " +
                      std::to_string(no));
  }
  ARKVALE_ASSIGN_OR_RETURN(const auto count, view_.U16("split.count"));
  ARKVALE_ASSIGN_OR_RETURN(const auto part_count, part.U16("split.count"));
  ARKVALE_ASSIGN_OR_RETURN(const auto n_tensors, view_.I32("split.tensors.count"));
  ARKVALE_ASSIGN_OR_RETURN(const auto part_tensors, part.I32("split.tensors.count"));
  if (part_count != count || (part_tensors && part_tensors != n_tensors)) {
    return part.Error("belongs to another model than " + view_.name() + " (their keys split.* differ)");
  }
  ARKVALE_RETURN_IF_ERROR(view_.AddTensorsOf(part));
  files_.push_back(std::move(file));
  return OkStatus();
}

Result<ModelFile> ModelFile::Open(const std::string& path) {
  ARKVALE_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  ARKVALE_ASSIGN_OR_RETURN(GgufView view, GgufView::Parse(file.bytes(), path));
  ModelFile model(std::move(file), std::move(view));
  ARKVALE_ASSIGN_OR_RETURN(const auto count, model.view_.U16("split.count"));
  if (count.value_or(0) <= 1) return model;

  ARKVALE_ASSIGN_OR_RETURN(const auto no, model.view_.U16("split.no"));
  if (no != uint16_t{0}) {
    return InvalidArgument(path + ": part " + (no ? std::to_string(*no + 1) : "?") + " of " + std::to_string(*count) +
                           " of a split model: open the first part");
  }
  const std::string suffix = PartSuffix(0, *count);
  if (!std::string_view(path).ends_with(suffix)) {
    return InvalidArgument(path + ": the first of " + std::to_string(*count) +
                           " parts of a split model, but its name does not end in " + suffix + ": rename it");
  }
  const std::string prefix = path.substr(0, path.size() - suffix.size());
  for (uint16_t part = 1; part < *count; ++part) {
    ARKVALE_RETURN_IF_ERROR(model.AddPart(prefix + PartSuffix(part, *count), part));
  }
  ARKVALE_ASSIGN_OR_RETURN(const auto n_tensors, model.view_.I32("split.tensors.count"));
  const size_t n_found = model.view_.tensors().size();
  if (!n_tensors || *n_tensors < 0 || static_cast<size_t>(*n_tensors) != n_found) {
    return model.view_.Error("the " + std::to_string(*count) + " parts hold " + std::to_string(n_found) +
                             " tensors, key split.tensors.count says " +
                             (n_tensors ? std::to_string(*n_tensors) : "nothing"));
  }
  return model;
}

}  // namespace arkvale
