#include "tests/f32_copy.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <vector>

#include "ggml.h"
#include "gguf.h"
#include "model/gguf_check.h"
#include "model/gguf_view.h"
#include "model/mapped_file.h"

namespace arkvale::testing {

namespace {

namespace fs = std::filesystem;

struct FreeGguf {
  void operator()(gguf_context* g) const { gguf_free(g); }
};
struct FreeGgml {
  void operator()(ggml_context* c) const { ggml_free(c); }
};
struct CloseFile {
  void operator()(FILE* f) const { std::fclose(f); }
};
using Gguf = std::unique_ptr<gguf_context, FreeGguf>;
using Ggml = std::unique_ptr<ggml_context, FreeGgml>;
using File = std::unique_ptr<FILE, CloseFile>;

Result<fs::path> CopyPath(const fs::path& model) {
  const char* cache = std::getenv("ARKVALE_CACHE");
  const char* home = std::getenv("HOME");
  const fs::path dir = (cache != nullptr ? fs::path(cache) : fs::path(home ? home : "/tmp") / ".cache/arkvale") / "f32";
  std::error_code error;
  const auto size = fs::file_size(model, error);
  if (error) return NotFound(model.string() + ": " + error.message());
  const auto time = fs::last_write_time(model, error).time_since_epoch().count();
  fs::create_directories(dir, error);
  if (error) return ResourceExhausted(dir.string() + ": " + error.message());
  return dir / (model.stem().string() + "-" + std::to_string(size) + "-" + std::to_string(time) + ".gguf");
}

// Header of the copy: the keys of `model`, its tensors in order as f32.
Status WriteHeader(const std::string& model, const GgufView& view, const std::string& out) {
  const Gguf source(gguf_init_from_file(model.c_str(), {/*no_alloc=*/true, /*ctx=*/nullptr}));
  if (source == nullptr) return Corrupt(model + ": ggml cannot read it");
  const Gguf target(gguf_init_empty());
  gguf_set_kv(target.get(), source.get());
  gguf_set_val_u32(target.get(), "general.file_type", 0);
  const Ggml context(ggml_init({ggml_tensor_overhead() * (view.tensors().size() + 1), nullptr, /*no_alloc=*/true}));
  for (const GgufTensor& t : view.tensors()) {
    ggml_tensor* copy = ggml_new_tensor(context.get(), GGML_TYPE_F32, t.n_dims, t.shape.data());
    ggml_set_name(copy, std::string(t.name).c_str());
    gguf_add_tensor(target.get(), copy);
  }
  return gguf_write_to_file(target.get(), out.c_str(), /*only_meta=*/true) ? OkStatus()
                                                                           : ResourceExhausted(out + ": cannot write");
}

Status AppendData(const GgufView& view, size_t alignment, FILE* out) {
  std::vector<float> row;
  for (const GgufTensor& t : view.tensors()) {
    const int64_t n_rows = t.shape[1] * t.shape[2] * t.shape[3];
    const auto* data = static_cast<const std::byte*>(view.Weight(t).data);
    const auto row_bytes = static_cast<int64_t>(t.n_bytes) / n_rows;
    const auto to_float = ggml_get_type_traits(static_cast<enum ggml_type>(t.ggml_type))->to_float;
    if (t.ggml_type != GGML_TYPE_F32 && to_float == nullptr) {
      return InvalidArgument("no dequantiser for " + GgmlTypeName(t.ggml_type));
    }
    row.resize(static_cast<size_t>(t.shape[0]));
    for (int64_t r = 0; r < n_rows; ++r) {
      const void* source = data + r * row_bytes;
      if (t.ggml_type != GGML_TYPE_F32) {
        to_float(source, row.data(), t.shape[0]);
        source = row.data();
      }
      if (std::fwrite(source, sizeof(float), row.size(), out) != row.size()) return ResourceExhausted("disk full");
    }
    const size_t n_bytes = row.size() * sizeof(float) * static_cast<size_t>(n_rows);
    const std::vector<char> padding((alignment - n_bytes % alignment) % alignment);
    if (std::fwrite(padding.data(), 1, padding.size(), out) != padding.size()) return ResourceExhausted("disk full");
  }
  return std::fflush(out) == 0 ? OkStatus() : ResourceExhausted("disk full");
}

}  // namespace

Result<std::string> F32Copy(const std::string& model_path) {
  ARKVALE_ASSIGN_OR_RETURN(const fs::path path, CopyPath(model_path));
  if (fs::exists(path)) return path.string();
  ARKVALE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(model_path));
  ARKVALE_ASSIGN_OR_RETURN(const GgufView view, GgufView::Parse(file.bytes(), model_path));
  ARKVALE_RETURN_IF_ERROR(CheckGgufView(view));
  ARKVALE_ASSIGN_OR_RETURN(const auto alignment, view.U32("general.alignment"));

  const std::string part = path.string() + "." + std::to_string(getpid()) + ".part";
  Status status = WriteHeader(model_path, view, part);
  if (status.ok()) {
    const File out(std::fopen(part.c_str(), "ab"));
    status = out == nullptr ? ResourceExhausted(part + ": cannot append")
                            : AppendData(view, alignment.value_or(GGUF_DEFAULT_ALIGNMENT), out.get());
  }
  std::error_code error;
  if (status.ok()) fs::rename(part, path, error);
  if (error) status = ResourceExhausted(path.string() + ": " + error.message());
  if (!status.ok()) {
    fs::remove(part, error);
    return status;
  }
  return path.string();
}

}  // namespace arkvale::testing
