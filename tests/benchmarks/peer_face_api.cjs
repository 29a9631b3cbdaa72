// What npm's @vladmandic/face-api answers, on TensorFlow.js' WebAssembly backend: faces in, words and times out.
// Runs in a folder of its own, see peers.py. Words: as peer_fer.py takes them.
const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const own = createRequire(path.join(process.cwd(), "package.json")); // the packages lie where this is started
const tf = own("@tensorflow/tfjs");
const wasm = own("@tensorflow/tfjs-backend-wasm");
const faceapi = own("@vladmandic/face-api/dist/face-api.node-wasm.js");

const [source, target, timed, repeats] = process.argv.slice(2);
const SIZE = 48 * 48;
const best = (found) => Object.entries(found).reduce((one, other) => (other[1] > one[1] ? other : one))[0];

const MOST = { "its own detector first": 500 }; // faces that are asked, evenly spread: its detector takes a third of a second

const WAYS = {
  "the crop as it is": async (face) => best(await faceapi.nets.faceExpressionNet.predictExpressions(face)),
  "its own detector first": async (face) => {
    const found = await faceapi.detectSingleFace(face).withFaceExpressions();
    return found ? best(found.expressions) : "";
  },
};

async function main() {
  wasm.setWasmPaths(path.join(path.dirname(own.resolve("@tensorflow/tfjs-backend-wasm/package.json")), "dist") + path.sep);
  wasm.setThreadsCount(1);
  await tf.setBackend("wasm");
  await tf.ready();
  const weights = path.join(path.dirname(own.resolve("@vladmandic/face-api/package.json")), "model");
  await faceapi.nets.faceExpressionNet.loadFromDisk(weights);
  await faceapi.nets.ssdMobilenetv1.loadFromDisk(weights);
  const bytes = fs.readFileSync(source);
  const count = bytes.length / SIZE;
  const answer = async (way, k) => {
    const grey = Int32Array.from(bytes.subarray(k * SIZE, (k + 1) * SIZE));
    const face = tf.tidy(() => tf.tensor3d(grey, [48, 48, 1], "int32").tile([1, 1, 3]));
    const word = await way(face);
    face.dispose();
    return word;
  };
  const ways = {};
  for (const [name, way] of Object.entries(WAYS)) {
    const words = [];
    const step = Math.ceil(count / (MOST[name] || count));
    for (let k = 0; k < count; k += step) words.push(await answer(way, k));
    const few = Math.min(count, step === 1 ? timed : Math.ceil(timed / 10));
    const ms = [];
    for (let turn = 0; turn < repeats; turn++) {
      const start = performance.now();
      for (let k = 0; k < few; k++) await answer(way, k);
      ms.push((performance.now() - start) / few);
    }
    ways[name] = { words, ms, step, timed: few };
  }
  const versions = {
    "@vladmandic/face-api": own("@vladmandic/face-api/package.json").version,
    "@tensorflow/tfjs": own("@tensorflow/tfjs/package.json").version,
  };
  fs.writeFileSync(target, JSON.stringify({ versions, ways }));
}

main();
