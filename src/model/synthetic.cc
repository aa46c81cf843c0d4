#include "model/synthetic.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <span>

#include "ggml.h"
#include "model/gguf_writer.h"
#include "model/synthetic_induction.h"
#include "model/synthetic_random.h"
#include "model/synthetic_vocab.h"

namespace arkvale {

namespace {

constexpr int64_t kPieceBytes = 4 << 20;
constexpr int64_t kMaxContext = std::numeric_limits<int32_t>::max();
constexpr std::string_view kInduction = "induction";

struct Preset {
  std::string_view name, architecture, type, rope;
  SyntheticShape shape;
};

// Shapes: {layers, d_model, d_ff, query heads, kv heads, head, vocabulary, context, experts, experts used, base, tied}.
constexpr Preset kPresets[] = {
    {"tiny", "", "q8_0", "none", {4, 256, 512, 4, 2, 64, kSyntheticVocab, 4096, 0, 0, 10000.0f, false}},
    {"smollm2-135m", "llama", "q4_1", "none", {30, 576, 1536, 9, 3, 64, 49152, 8192, 0, 0, 100000.0f, true}},
    {"llama-3.1-8b", "llama", "q4_0", "llama3", {32, 4096, 14336, 32, 8, 128, 128256, 131072, 0, 0, 500000.0f, false}},
    {"longchat-7b", "llama", "q4_0", "linear", {32, 4096, 11008, 32, 32, 128, 32000, 32768, 0, 0, 10000.0f, false}},
    {kInduction, "gemma3", "f32", "", {0, 0, 0, 0, 0, 0, kSyntheticVocab, 1 << 18, 0, 0, 0.0f, false}},
};

constexpr SyntheticArch kArchs[] = {
    {.name = "llama"},
    {.name = "qwen2", .qkv_bias = true},
    {.name = "qwen3", .qk_norm = true},
    {.name = "qwen3moe", .qk_norm = true},
    {.name = "phi3", .fused = true},
    {.name = "gemma2", .post_norms = true, .scaled_embedding = true, .window = 64, .softcap = true},
    {.name = "gemma3",
     .qk_norm = true,
     .post_norms = true,
     .scaled_embedding = true,
     .window = 64,
     .window_pattern = 3},
};

constexpr std::string_view kRopes[] = {"none", "linear", "yarn", "llama3", "longrope"};

// Architectures whose head dimension is free of d_model get one that is, gemma3 a second global layer.
SyntheticShape TinyShape(SyntheticShape shape, std::string_view architecture) {
  const bool free_heads = architecture.starts_with("gemma") || architecture.starts_with("qwen3");
  if (free_heads) shape.n_q_heads = 8;
  if (architecture == "gemma3") shape.n_layers = 6;
  if (architecture == "gemma2") shape.tied = true;
  if (architecture == "qwen3moe") {
    shape.n_layers = 3;
    shape.d_ff = 256;
    shape.n_experts = 8;
    shape.n_experts_used = 2;
  }
  return shape;
}

bool CanWrite(int32_t type) {
  if (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16) return true;
  const ggml_type_traits& traits = *ggml_get_type_traits(static_cast<enum ggml_type>(type));
  return traits.is_quantized && traits.to_float != nullptr;
}

std::string Join(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}
template <typename Names>
Status Unknown(std::string_view what, std::string_view name, const Names& names) {
  const std::vector<std::string> known(names.begin(), names.end());
  return InvalidArgument("unknown " + std::string(what) + " '" + std::string(name.substr(0, 64)) + "' (" + Join(known) +
                         ")");
}

Result<int32_t> TypeOf(std::string_view name) {
  const auto same = [&](std::string_view other) {
    return std::equal(name.begin(), name.end(), other.begin(), other.end(),
                      [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  };
  for (int32_t type = 0; type < GGML_TYPE_COUNT; ++type) {
    if (CanWrite(type) && same(ggml_type_name(static_cast<enum ggml_type>(type)))) return type;
  }
  return Unknown("type", name, SyntheticTypes());
}

Status CheckRope(std::string_view rope, std::string_view architecture) {
  const std::string_view only = rope == "llama3" ? "llama" : rope == "longrope" ? "phi3" : architecture;
  if (architecture == only) return OkStatus();
  return InvalidArgument("rope '" + std::string(rope) + "' belongs to the architecture " + std::string(only) +
                         ", not " + std::string(architecture));
}

// A matrix is quantised in blocks along its rows.
Status CheckTensors(const std::vector<SyntheticTensor>& tensors) {
  for (const SyntheticTensor& t : tensors) {
    const auto type = static_cast<enum ggml_type>(t.ggml_type);
    if (t.shape[0] % ggml_blck_size(type) == 0) continue;
    return InvalidArgument("tensor '" + t.name + "' has rows of " + std::to_string(t.shape[0]) +
                           ", no multiple of the " + std::to_string(ggml_blck_size(type)) + " elements in a block of " +
                           ggml_type_name(type) + ": choose a type with smaller blocks, such as q4_1");
  }
  return OkStatus();
}

Status WriteTensors(const std::vector<SyntheticTensor>& tensors, GgufFileWriter& file,
                    const SyntheticProgress& progress) {
  std::vector<std::byte> piece;
  int64_t done = 0;
  for (const SyntheticTensor& t : tensors) {
    const auto row_bytes = static_cast<int64_t>(ggml_row_size(static_cast<enum ggml_type>(t.ggml_type), t.shape[0]));
    const int64_t piece_rows = std::max<int64_t>(1, kPieceBytes / row_bytes), n_rows = t.n_rows();
    for (int64_t first = 0; first < n_rows; first += piece_rows) {
      const int64_t n = std::min(piece_rows, n_rows - first);
      piece.resize(static_cast<size_t>(n * row_bytes));
      t.fill(first, n, piece.data());
      ARKVALE_RETURN_IF_ERROR(file.Append(piece));
      done += n * row_bytes;
      if (progress) ARKVALE_RETURN_IF_ERROR(progress(done, file.tensor_bytes()));
    }
  }
  return OkStatus();
}

// Options with every name looked up.
struct Recipe {
  const Preset* preset = nullptr;
  const SyntheticArch* arch = nullptr;
  std::string_view rope;
  int32_t ggml_type = 0;
  int64_t context_tokens = 0;

  bool induction() const { return preset->name == kInduction; }
};

Result<const SyntheticArch*> FindArch(const Preset& preset, std::string_view wanted) {
  const bool any = preset.architecture.empty();
  const std::string_view name = !wanted.empty() ? wanted : any ? kArchs[0].name : preset.architecture;
  const auto* arch = std::find_if(std::begin(kArchs), std::end(kArchs), [&](const auto& a) { return a.name == name; });
  if (arch == std::end(kArchs)) return Unknown("architecture", name, SyntheticArchitectures());
  if (any || name == preset.architecture) return arch;
  return InvalidArgument("preset '" + std::string(preset.name) + "' has the architecture " +
                         std::string(preset.architecture) + ", not " + std::string(name) +
                         ": only 'tiny' comes in every architecture");
}

Status CheckInduction(const Recipe& r, const SyntheticOptions& options) {
  if (r.ggml_type != GGML_TYPE_F32 && r.ggml_type != GGML_TYPE_F16 && r.ggml_type != GGML_TYPE_BF16) {
    return InvalidArgument("preset 'induction' comes in f32, f16 and bf16: its weights are exact");
  }
  return options.rope.empty() ? OkStatus() : InvalidArgument("preset 'induction' has a rope of its own");
}

Result<Recipe> Resolve(const SyntheticOptions& options) {
  Recipe r;
  r.preset =
      std::find_if(std::begin(kPresets), std::end(kPresets), [&](const Preset& p) { return p.name == options.preset; });
  if (r.preset == std::end(kPresets)) {
    std::vector<std::string_view> names;
    for (const Preset& p : kPresets) names.push_back(p.name);
    return Unknown("preset", options.preset, names);
  }
  ARKVALE_ASSIGN_OR_RETURN(r.arch, FindArch(*r.preset, options.architecture));
  ARKVALE_ASSIGN_OR_RETURN(r.ggml_type, TypeOf(options.type.empty() ? r.preset->type : options.type));
  if (options.context_tokens < 0 || options.context_tokens > kMaxContext) {
    return InvalidArgument("context of " + std::to_string(options.context_tokens) + " tokens: want 1.." +
                           std::to_string(kMaxContext) + ", or 0 for the preset's");
  }
  r.context_tokens = options.context_tokens > 0 ? options.context_tokens : r.preset->shape.context_tokens;
  if (r.induction()) {
    ARKVALE_RETURN_IF_ERROR(CheckInduction(r, options));
    return r;
  }
  r.rope = options.rope.empty() ? r.preset->rope : std::string_view(options.rope);
  if (std::find(std::begin(kRopes), std::end(kRopes), r.rope) == std::end(kRopes)) {
    return Unknown("rope", r.rope, SyntheticRopes());
  }
  ARKVALE_RETURN_IF_ERROR(CheckRope(r.rope, r.arch->name));
  return r;
}

template <typename Model>
std::vector<SyntheticTensor> Describe(const Model& model, GgufFileWriter& file) {
  model.AddKeys(file);
  return model.Tensors();
}

}  // namespace

const std::vector<SyntheticPreset>& SyntheticPresets() {
  static const std::vector<SyntheticPreset> presets = {
      {"tiny", "a few layers of any architecture, 3 to 7 MB"},
      {"smollm2-135m", "the shape of SmolLM2-135M, 85 MB"},
      {"llama-3.1-8b", "the shape of Llama-3.1-8B, 4.5 GB"},
      {"longchat-7b", "the shape of LongChat-7B (32 kv heads), 3.8 GB"},
      {"induction", "continues a text as it went on where its last 4 bytes stood before, over any distance; 1 MB"},
  };
  return presets;
}

const std::vector<std::string_view>& SyntheticArchitectures() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    for (const SyntheticArch& arch : kArchs) all.push_back(arch.name);
    return all;
  }();
  return names;
}

const std::vector<std::string_view>& SyntheticRopes() {
  static const std::vector<std::string_view> names(std::begin(kRopes), std::end(kRopes));
  return names;
}

std::vector<std::string> SyntheticTypes() {
  std::vector<std::string> names;
  for (int32_t type = 0; type < GGML_TYPE_COUNT; ++type) {
    if (CanWrite(type)) names.emplace_back(ggml_type_name(static_cast<enum ggml_type>(type)));
  }
  return names;
}

Status WriteSynthetic(const SyntheticOptions& options, const std::string& path, const SyntheticProgress& progress) {
  ARKVALE_ASSIGN_OR_RETURN(const Recipe recipe, Resolve(options));
  GgufFileWriter file(path);
  file.String("general.architecture", recipe.arch->name);
  file.String("general.name", "synthetic " + options.preset);
  file.U32("general.quantization_version", GGML_QNT_VERSION);
  SyntheticShape shape = recipe.preset->shape;
  shape.context_tokens = recipe.context_tokens;
  if (recipe.preset->architecture.empty()) shape = TinyShape(shape, recipe.arch->name);
  const std::vector<SyntheticTensor> tensors =
      recipe.induction()
          ? Describe(InductionModel{.context_tokens = recipe.context_tokens, .ggml_type = recipe.ggml_type}, file)
          : Describe(RandomModel{.shape = shape,
                                 .arch = *recipe.arch,
                                 .rope = recipe.rope,
                                 .ggml_type = recipe.ggml_type,
                                 .seed = options.seed},
                     file);
  ARKVALE_RETURN_IF_ERROR(CheckTensors(tensors));
  AddSyntheticVocab(file, shape.n_vocab);
  for (const SyntheticTensor& t : tensors) file.Tensor(t.name, t.shape, t.ggml_type);
  ARKVALE_RETURN_IF_ERROR(file.Begin());
  ARKVALE_RETURN_IF_ERROR(WriteTensors(tensors, file, progress));
  return file.Finish();
}

}  // namespace arkvale
