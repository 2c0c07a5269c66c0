// The official SDKs and the Vercel AI SDK, unmodified: node sdks.mjs URL MODEL QUESTIONS
// QUESTIONS is JSON: what to ask for a text, for a call and for the calls' results. Prints one JSON object of what was
// seen; the Python test judges it.
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { z } from "zod";

const [url, model, asked] = [process.argv[2], process.argv[3], JSON.parse(process.argv[4])];
const RESULTS = { Paris: "18 degrees in Paris", Oslo: "9 degrees in Oslo" };
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const google = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: url } });

const parts = {
  async openai_chat() {
    const messages = [{ role: "user", content: asked.text }];
    const whole = await openai.chat.completions.create({ model, messages });
    let streamed = "";
    for await (const chunk of await openai.chat.completions.create({ model, messages, stream: true }))
      streamed += chunk.choices[0]?.delta?.content ?? "";
    const runner = openai.chat.completions.runTools({
      model,
      messages: [{ role: "user", content: asked.results }],
      tools: [{ type: "function", function: {
        name: "get_weather", parameters: city, parse: JSON.parse, function: (given) => RESULTS[given.city],
      } }],
    });
    return { text: whole.choices[0].message.content, streamed, tools: await runner.finalContent() };
  },
  async openai_responses() {
    const whole = await openai.responses.create({ model, input: asked.text, store: false });
    let streamed = "";
    for await (const event of openai.responses.stream({ model, input: asked.text, store: false }))
      if (event.type === "response.output_text.delta") streamed += event.delta;
    const tools = [{ type: "function", name: "get_weather", parameters: city, strict: false }];
    const input = [{ role: "user", content: asked.results }];
    const first = await openai.responses.create({ model, input, tools, store: false });
    const results = first.output.filter((item) => item.type === "function_call").map((call) => (
      { type: "function_call_output", call_id: call.call_id, output: RESULTS[JSON.parse(call.arguments).city] }));
    const second = await openai.responses.create({ model, input: [...input, ...first.output, ...results], tools, store: false });
    return { text: whole.output_text, streamed, tools: second.output_text };
  },
  async anthropic() {
    const messages = [{ role: "user", content: asked.text }];
    const whole = await anthropic.messages.create({ model, max_tokens: 4096, messages });
    const streamed = await anthropic.messages.stream({ model, max_tokens: 4096, messages }).finalText();
    const tools = [{ name: "get_weather", input_schema: city }];
    const question = { role: "user", content: asked.results };
    const first = await anthropic.messages.create({ model, max_tokens: 4096, messages: [question], tools });
    const results = first.content.filter((block) => block.type === "tool_use").map((call) => (
      { type: "tool_result", tool_use_id: call.id, content: RESULTS[call.input.city] }));
    const second = await anthropic.messages.create({
      model, max_tokens: 4096, tools,
      messages: [question, { role: "assistant", content: first.content }, { role: "user", content: results }],
    });
    return { text: whole.content[0].text, streamed, tools: second.content.at(-1).text };
  },
  async google() {
    const whole = await google.models.generateContent({ model, contents: asked.text });
    let streamed = "";
    for await (const chunk of await google.models.generateContentStream({ model, contents: asked.text }))
      streamed += chunk.text ?? "";
    const chat = google.chats.create({
      model, config: { tools: [{ functionDeclarations: [{ name: "get_weather", parametersJsonSchema: city }] }] },
    });
    const first = await chat.sendMessage({ message: asked.results });
    const second = await chat.sendMessage({ message: first.functionCalls.map((call) => (
      { functionResponse: { id: call.id, name: call.name, response: { output: RESULTS[call.args.city] } } })) });
    return { text: whole.text, streamed, tools: second.text };
  },
  ai_openai_chat: () => vercel(createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" }).chat(model)),
  ai_openai_responses: () => vercel(createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" }).responses(model)),
  ai_openai_compatible: () => vercel(createOpenAICompatible({ name: "modelport", baseURL: `${url}/v1` })(model)),
  ai_anthropic: () => vercel(createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" })(model)),
  // Of a name with a slash this SDK makes a path of its own, unless it begins with models/.
  ai_google: () => vercel(createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: "none" })(`models/${model}`)),
};

async function vercel(chosen) {
  const weather = tool({ inputSchema: z.object({ city: z.string() }), execute: async (given) => RESULTS[given.city] });
  const common = { model: chosen, maxRetries: 0 };
  const whole = await generateText({ ...common, prompt: asked.text });
  let streamed = "";
  for await (const piece of streamText({ ...common, prompt: asked.text }).textStream) streamed += piece;
  const called = await generateText({
    ...common, prompt: asked.results, tools: { get_weather: weather }, stopWhen: stepCountIs(3),
  });
  const stream = streamText({ ...common, prompt: asked.results, tools: { get_weather: weather }, stopWhen: stepCountIs(3) });
  const steps = await stream.steps;
  return { text: whole.text, streamed, tools: called.text, tools_streamed: steps.at(-1).text };
}

const seen = {};
for (const [name, part] of Object.entries(parts)) {
  try {
    seen[name] = await part();
  } catch (error) {
    seen[name] = { error: String(error?.stack ?? error).slice(0, 600), body: error?.responseBody?.slice?.(0, 300) };
  }
}
console.log(JSON.stringify(seen));
