// Templates in the style of the families in use: what RenderChat makes of them, beside libllama's own rendering of the
// formats that it knows by heart.
#include <gtest/gtest.h>
#include <llama.h>

#include <string>
#include <vector>

#include "text/chat_template.h"

namespace arkvale {
namespace {

const std::string kChatMl = R"({%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\nYou are kind.<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%})";

const std::string kLlama3 = R"({{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system_text = messages[0].content | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_text = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}
{%- if tools is not none %}{{- 'Environment: tools\n' }}{%- endif %}
{{- system_text ~ '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %})";

const std::string kMistral = R"({%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- ' [INST] ' + system_message + '\n\n' + message['content'] + ' [/INST]' }}
        {%- else %}
            {{- ' [INST] ' + message['content'] + ' [/INST]' }}
        {%- endif %}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %})";

const std::string kGemma = R"({{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
{{ raise_exception('System role not supported') }}
{%- endif -%}
{%- for message in messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = 'model' -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%})";

const std::string kQwen3 = R"({%- set ns = namespace(searching=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == 'user' %}
        {%- set ns.searching = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if message.role == 'user' or message.role == 'system' %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>assistant\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %})";

const std::string kPhi3 = R"({% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'user' %}{{'<|user|>
' + message['content'] + '<|end|>
'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>
' + message['content'] + '<|end|>
'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% else %}{{ eos_token }}{% endif %})";

using Messages = std::vector<ChatMessage>;
const Messages kOne = {{"user", "Hi"}};
const Messages kSystem = {{"system", "Be brief."}, {"user", "Hi"}};
const Messages kTurns = {{"user", "Hi"}, {"assistant", "Ho"}, {"user", "And?"}};

std::string Text(const std::string& source, const Messages& messages) {
  const auto segments = RenderChat({source, "<s>", "</s>", true}, messages, true);
  if (!segments.ok()) return segments.status().message();
  std::string text;
  for (const TextSegment& segment : *segments) text += segment.text;
  return text;
}

std::string LibllamaText(const std::string& source, const Messages& messages) {
  std::vector<llama_chat_message> chat;
  for (const ChatMessage& message : messages) chat.push_back({message.role.c_str(), message.content.c_str()});
  std::string text(4096, '\0');
  const int32_t n = llama_chat_apply_template(source.c_str(), chat.data(), chat.size(), true, text.data(),
                                              static_cast<int32_t>(text.size()));
  text.resize(n);
  return text;
}

TEST(ChatFamilies, ChatMlWithItsDefaultSystemText) {
  EXPECT_EQ(Text(kChatMl, kOne),
            "<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(Text(kChatMl, kSystem), LibllamaText(kChatMl, kSystem));
}

TEST(ChatFamilies, Llama3) {
  EXPECT_EQ(Text(kLlama3, kSystem),
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>"
            "\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(Text(kLlama3, kSystem), LibllamaText(kLlama3, kSystem));
  EXPECT_EQ(Text(kLlama3, {{"user", "  Hi\n"}}),
            "<|start_header_id|>system<|end_header_id|>\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>"
            "\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatFamilies, Mistral) {
  EXPECT_EQ(Text(kMistral, kTurns), " [INST] Hi [/INST] Ho</s> [INST] And? [/INST]");
  EXPECT_EQ(Text(kMistral, kSystem), " [INST] Be brief.\n\nHi [/INST]");
  EXPECT_NE(Text(kMistral, {{"user", "a"}, {"user", "b"}}).find("roles must alternate"), std::string::npos);
}

TEST(ChatFamilies, GemmaRefusesASystemText) {
  EXPECT_EQ(Text(kGemma, kTurns),
            "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHo<end_of_turn>\n<start_of_turn>user\nAnd?"
            "<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(Text(kGemma, kTurns), LibllamaText(kGemma, kTurns));
  EXPECT_NE(Text(kGemma, kSystem).find("System role not supported"), std::string::npos);
}

TEST(ChatFamilies, Qwen3ForgetsOldThoughts) {
  const Messages thought = {{"user", "Hi"}, {"assistant", "<think>\nhm<|im_end|>\n</think>\n\nHo"}, {"user", "And?"}};
  EXPECT_EQ(Text(kQwen3, thought),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n"
            "<|im_start|>assistant\n");
  const Messages last(thought.begin(), thought.begin() + 2);
  const auto segments = RenderChat({kQwen3}, last, false);
  ASSERT_TRUE(segments.ok()) << segments.status().ToString();
  ASSERT_EQ(segments->size(), 7u);
  EXPECT_EQ((*segments)[2].text, "<|im_end|>\n<|im_start|>assistant\n<think>\n");
  EXPECT_EQ((*segments)[3].text, "hm<|im_end|>");
  EXPECT_FALSE((*segments)[3].parse_special);
  EXPECT_EQ((*segments)[5].text, "Ho");
  EXPECT_EQ((*segments)[5].message, 1);
}

TEST(ChatFamilies, Phi3) {
  EXPECT_EQ(Text(kPhi3, kSystem), "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n");
  EXPECT_EQ(Text(kPhi3, kSystem), LibllamaText(kPhi3, kSystem));
}

}  // namespace
}  // namespace arkvale
