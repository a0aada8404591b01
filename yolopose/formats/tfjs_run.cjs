// Run a TensorFlow.js graph model in Node, in WebAssembly, for yolopose/formats/tfjs.py.
//
//   node tfjs_run.cjs MODEL_FOLDER THREADS MODULES
//
// Code is loaded from the folder MODULES only, which contains @tensorflow; never from the folder of the model.
//
// The first answer is a line of JSON: {input, output}, the shapes with null where open; or {error}.
// Then it reads requests from standard input until that ends: three uint32 B H W and B*H*W*3 float32, little-endian.
// Each answer is a line of JSON, {output}, the shape, followed by the float32 of the output; or {error}.
"use strict";

const fs = require("fs");
const path = require("path");

const [folder, threads, modules] = process.argv.slice(2);
console.log = console.info = console.warn = console.debug = console.error; // standard output carries answers

async function start() {
  const tf = require(path.join(modules, "@tensorflow", "tfjs"));
  const backend = require.resolve(path.join(modules, "@tensorflow", "tfjs-backend-wasm"));
  const wasm = require(backend);
  wasm.setWasmPaths(path.dirname(backend) + path.sep);
  if (Number(threads)) wasm.setThreadsCount(Number(threads));
  await tf.setBackend("wasm");
  await tf.ready();
  const { modelTopology, weightsManifest, signature } = JSON.parse(fs.readFileSync(path.join(folder, "model.json")));
  const files = weightsManifest.flatMap((group) => group.paths).map((file) => path.join(folder, path.basename(file)));
  if (new Set(files).size < files.length) throw new Error("a file of weights is named twice");
  for (const file of files) { // a pipe would be waited for, and some devices never end
    if (!fs.statSync(file).isFile()) throw new Error(`${path.basename(file)} is not a regular file`);
  }
  const weights = Buffer.concat(files.map((file) => fs.readFileSync(file)));
  const weightData = weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length);
  const weightSpecs = weightsManifest.flatMap((group) => group.weights);
  const model = await tf.loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs, weightData, signature }));
  return { tf, model, shapes: { input: sizes(signature, "inputs"), output: sizes(signature, "outputs") } };
}

function sizes(signature, side) {
  const ends = Object.values((signature && signature[side]) || {});
  if (ends.length !== 1) throw new Error(`${ends.length} ${side} instead of one`);
  return ((ends[0].tensorShape || {}).dim || []).map(({ size }) => (Number(size) === -1 ? null : Number(size)));
}

async function* blocks(stream) {
  let size = yield;
  let held = [], length = 0;
  for await (const chunk of stream) {
    held.push(chunk);
    length += chunk.length;
    while (length >= size) {
      const whole = Buffer.concat(held);
      held = [whole.subarray(size)];
      length -= size;
      size = yield whole.subarray(0, size);
    }
  }
}

function send(answer, ...parts) {
  process.stdout.write(JSON.stringify(answer) + "\n");
  for (const part of parts) process.stdout.write(part);
}

function run(tf, model, pixels, shape) {
  const output = tf.tidy(() => {
    const result = model.execute(tf.tensor(pixels, shape));
    return Array.isArray(result) ? result[0] : result;
  });
  try {
    const values = output.dataSync();
    send({ output: output.shape }, Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  } finally {
    output.dispose();
  }
}

async function main() {
  let tf, model, shapes;
  try {
    ({ tf, model, shapes } = await start());
  } catch (error) {
    return send({ error: `cannot load it: ${error.message || error}` });
  }
  send(shapes);
  const input = blocks(process.stdin);
  await input.next();
  for (;;) {
    const head = await input.next(12);
    if (head.done) return;
    const [b, h, w] = new Uint32Array(Uint8Array.from(head.value).buffer);
    const body = await input.next(b * h * w * 3 * 4);
    if (body.done) return;
    try {
      run(tf, model, new Float32Array(Uint8Array.from(body.value).buffer), [b, h, w, 3]);
    } catch (error) {
      send({ error: `cannot run it: ${error.message || error}` });
    }
  }
}

main().then(() => process.exit(0));
