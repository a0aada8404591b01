// Runs what jobs.json names in onnxruntime-web and posts what comes out; the other side is test_browser.py.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";

const post = (path, body, headers = {}) => fetch(path, { method: "POST", body, headers });

async function runModels(jobs) {
  const sessions = {};
  for (const { name, model, dims } of jobs) {
    sessions[model] ??= await ort.InferenceSession.create(model);
    const pixels = new Float32Array(await (await fetch(`${name}.f32`)).arrayBuffer());
    const { output0 } = await sessions[model].run({ images: new ort.Tensor("float32", pixels, dims) });
    await post(name, output0.data, { "X-Dims": output0.dims.join() });
  }
}

async function runExample({ name, page }) {
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.src = page;
  while (!frame.contentWindow.found) await new Promise((resolve) => setTimeout(resolve, 50));
  await post(name, JSON.stringify(frame.contentWindow.found));
}

try {
  ort.env.wasm.numThreads = 2; // needs memory shared between workers, hence crossOriginIsolated
  const { models, examples } = await (await fetch("jobs.json")).json();
  await runModels(models);
  for (const example of examples) await runExample(example);
  await post("done", JSON.stringify({ isolated: crossOriginIsolated, threads: ort.env.wasm.numThreads }));
} catch (error) {
  await post("failed", `${error}\n${error.stack}`);
}
