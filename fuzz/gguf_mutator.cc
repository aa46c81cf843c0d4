#include "fuzz/gguf_mutator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "model/gguf_test_util.h"
#include "model/gguf_view.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace arkvale::fuzz {
namespace {

using arkvale::testing::GgufWriter;
using Random = std::minstd_rand;

std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// libFuzzer's own mutations on a part of the input.
std::string Mutated(std::string text, size_t growth) {
  const size_t size = text.size();
  text.resize(size + growth);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, text.size()));
  return text;
}

struct Value {
  std::string key;
  GgufValue value;
  std::string payload;  // as GgufWriter takes it
};

std::vector<std::string> Strings(const Value& v) {
  std::vector<std::string> strings;
  const char* at = v.payload.data() + sizeof(GgufType) + sizeof(uint64_t);
  for (uint64_t i = 0; i < v.value.count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, at, sizeof(length));
    strings.emplace_back(at + sizeof(length), length);
    at += sizeof(length) + length;
  }
  return strings;
}

std::string Payload(const std::vector<std::string>& strings) {
  std::string payload = GgufWriter::Bytes(GgufType::kString) + GgufWriter::Bytes(uint64_t{strings.size()});
  for (const std::string& s : strings) payload += GgufWriter::Text(s);
  return payload;
}

void MutateStrings(Value& v, Random& random) {
  std::vector<std::string> strings = Strings(v);
  if (strings.empty()) strings.emplace_back();
  std::string& one = strings[random() % strings.size()];
  switch (random() % 5) {
    case 0: one = Mutated(one, 16); break;
    case 1: one = strings[random() % strings.size()]; break;
    case 2: one.clear(); break;
    case 3: strings.insert(strings.begin() + static_cast<int64_t>(random() % strings.size()), std::string(one)); break;
    default: strings.erase(strings.begin() + static_cast<int64_t>(random() % strings.size()));
  }
  v.payload = Payload(strings);
}

void MutateValue(Value& v, Random& random) {
  if (v.value.type == GgufType::kArray && v.value.element == GgufType::kString && random() % 8 != 0) {
    return MutateStrings(v, random);
  }
  switch (random() % 8) {
    case 0: v.value.type = static_cast<GgufType>(random() % 13); break;
    case 1: v.key = Mutated(v.key, 8); break;
    default:
      if (v.value.type == GgufType::kString) {
        v.payload = GgufWriter::Text(Mutated(v.payload.substr(sizeof(uint64_t)), 64));
      } else if (v.value.type == GgufType::kArray && random() % 2 == 0) {
        const size_t head = sizeof(GgufType) + sizeof(uint64_t);
        v.payload = v.payload.substr(0, head) + Mutated(v.payload.substr(head), 0);
      } else {
        v.payload = Mutated(v.payload, 0);
      }
  }
}

void MutateTensor(GgufWriter& w, Random& random) {
  GgufWriter::Tensor& t = w.tensors[random() % w.tensors.size()];
  switch (random() % 5) {
    case 0: t.type = static_cast<int32_t>(random() % 42); break;
    case 1: t.dims.resize(1 + random() % 4, 1); break;
    case 2: t.dims[random() % t.dims.size()] = 1 + static_cast<int64_t>(random() % 64); break;
    case 3: t.name = Mutated(t.name, 8); break;
    default: w.tensors.erase(w.tensors.begin() + static_cast<int64_t>(random() % w.tensors.size()));
  }
}

GgufWriter Writer(const GgufView& view, std::span<const std::byte> file, Random& random) {
  GgufWriter w;
  for (const GgufTensor& t : view.tensors()) {
    w.tensors.push_back({std::string(t.name),
                         {t.shape.begin(), t.shape.begin() + t.n_dims},
                         t.ggml_type,
                         Text(file.subspan(t.offset, t.n_bytes)),
                         std::nullopt});
  }
  std::vector<Value> values;
  for (const std::string_view key : view.keys()) {
    const GgufValue& value = *view.Find(key);
    std::string payload = Text(value.bytes);
    if (value.type == GgufType::kString) payload = GgufWriter::Text(payload);
    if (value.type == GgufType::kArray) {
      payload = GgufWriter::Bytes(value.element) + GgufWriter::Bytes(value.count) + payload;
    }
    values.push_back({std::string(key), value, std::move(payload)});
  }
  if (!values.empty()) {
    const size_t i = random() % values.size();
    switch (random() % 8) {
      case 0: values.erase(values.begin() + static_cast<int64_t>(i)); break;
      case 1: std::swap(values[i], values[random() % values.size()]); break;
      case 2:
        if (!w.tensors.empty()) MutateTensor(w, random);
        break;
      default: MutateValue(values[i], random);
    }
  }
  for (const Value& v : values) w.Append(v.key, v.value.type, v.payload);
  return w;
}

}  // namespace

size_t MutateGguf(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  Random random(seed);
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  const auto view = GgufView::Parse(file, "seed");
  if (!view.ok() || random() % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string mutated = Writer(*view, file, random).Build();
  if (mutated.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(mutated.begin(), mutated.end(), data);
  return mutated.size();
}

}  // namespace arkvale::fuzz
