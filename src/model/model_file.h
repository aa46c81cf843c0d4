// ModelFile: a model's GGUF file, or all parts of a split one (NAME-00001-of-00003.gguf ...), mapped and indexed as
// one.
#pragma once

#include <string>
#include <vector>

#include "arkvale/status.h"
#include "model/gguf_view.h"
#include "model/mapped_file.h"

namespace arkvale {

// Owner of the bytes its view borrows. Movable.
class ModelFile {
 public:
  // `path` is the file or the first part; the others lie beside it under the names that llama-gguf-split gives them.
  // Errors name the part they are about. NotFound: a file is not there. Corrupt: one is damaged or belongs to another
  // model. InvalidArgument: `path` is not the first part.
  static Result<ModelFile> Open(const std::string& path);

  const GgufView& view() const { return view_; }

 private:
  ModelFile(MappedFile file, GgufView view) : view_(std::move(view)) { files_.push_back(std::move(file)); }
  Status AddPart(const std::string& path, uint16_t no);

  std::vector<MappedFile> files_;
  GgufView view_;  // metadata of the first part, tensors of all
};

}  // namespace arkvale
