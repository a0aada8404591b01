// Runs a TensorFlow.js graph model in Node for yolopose/formats/tfjs.py, by WebAssembly.
//
//   node tfjs_run.cjs MODEL_FOLDER THREADS MODULES
//
// Code comes from the folder MODULES alone, which holds @tensorflow; nothing is looked for beside the model.
//
// It first writes one line of JSON: {input, output}, the shapes with null where open; or {error}.
// Then, again and again, it reads three uint32 B H W and B*H*W*3 float32 from standard input, and writes a uint32 rank,
// as many sizes, and the float32 of the output; rank 0, a uint32 length and as many bytes of text are an error.
// All numbers are little-endian. It ends with its standard input.
"use strict";

const fs = require("fs");
const path = require("path");

const [folder, threads, modules] = process.argv.slice(2);
console.log = console.info = console.warn = console.debug = console.error; // standard output is for answers

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

function answer(tf, model, images) {
  const output = tf.tidy(() => {
    const result = model.execute(images);
    return Array.isArray(result) ? result[0] : result;
  });
  try {
    const values = output.dataSync();
    const head = Uint32Array.from([output.shape.length, ...output.shape]);
    return [Buffer.from(head.buffer), Buffer.from(values.buffer, values.byteOffset, values.byteLength)];
  } finally {
    output.dispose();
  }
}

async function main() {
  let tf, model, shapes;
  try {
    ({ tf, model, shapes } = await start());
    process.stdout.write(JSON.stringify(shapes) + "\n");
  } catch (error) {
    process.stdout.write(JSON.stringify({ error: String(error.message || error) }) + "\n");
    return;
  }
  const input = blocks(process.stdin);
  await input.next();
  for (;;) {
    const head = await input.next(12);
    if (head.done) return;
    const [b, h, w] = new Uint32Array(Uint8Array.from(head.value).buffer);
    const body = await input.next(b * h * w * 3 * 4);
    if (body.done) return;
    const pixels = new Float32Array(Uint8Array.from(body.value).buffer);
    const images = tf.tensor(pixels, [b, h, w, 3]);
    let parts;
    try {
      parts = answer(tf, model, images);
    } catch (error) {
      const text = Buffer.from(String(error.message || error));
      parts = [Buffer.from(Uint32Array.from([0, text.length]).buffer), text];
    } finally {
      images.dispose();
    }
    for (const part of parts) process.stdout.write(part);
  }
}

main().then(() => process.exit(0));
