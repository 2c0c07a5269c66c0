// The official SDK, unmodified: node contract.mjs BASE_URL MODELS
// MODELS is JSON: which model plays which part. Prints one JSON object of what was seen; the Python test judges it.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, models] = [process.argv[2], JSON.parse(process.argv[3])];
const client = new OpenAI({ baseURL, apiKey: "not-needed", maxRetries: 0, timeout: 20_000 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const City = z.object({ city: z.string(), population: z.number() });

const parts = {
  async chat(model) {
    const { data, response } = await client.chat.completions.create({ model, messages }).withResponse();
    const { message, finish_reason } = data.choices[0];
    return { text: message.content, finish_reason, usage: data.usage, target: response.headers.get("x-modelport-target") };
  },
  async stream(model) {
    const stream = await client.chat.completions.create({
      model, messages, stream: true, stream_options: { include_usage: true },
    });
    let text = "";
    let usage = null;
    const ids = new Set();
    for await (const chunk of stream) {
      ids.add(chunk.id);
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    return { text, usage, ids: ids.size };
  },
  async tools(model) {
    const stream = client.chat.completions.stream({ model, messages, tools });
    const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
    const calls = message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
    return { calls, finish_reason };
  },
  async parse(model) {
    const completion = await client.chat.completions.parse({
      model, messages, response_format: zodResponseFormat(City, "city"),
    });
    return completion.choices[0].message.parsed;
  },
  async error(model) {
    try {
      await client.chat.completions.create({ model, messages }, { maxRetries: 2 });
    } catch (error) {
      return { name: error.constructor.name, status: error.status, code: error.code, type: error.type };
    }
    return null;
  },
  async broken(model) {
    try {
      for await (const _ of await client.chat.completions.create({ model, messages, stream: true }));
    } catch (error) {
      return { isAPIError: error instanceof OpenAI.APIError };
    }
    return null;
  },
};

const seen = {};
for (const [part, model] of Object.entries(models)) {
  seen[part] = await parts[part.split("_")[0]](model);
}
console.log(JSON.stringify(seen));
