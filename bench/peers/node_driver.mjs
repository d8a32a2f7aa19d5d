// Runs a WASI program under V8: node node_driver.mjs EXECUTIONS CALLS FILE [ARGUMENT...]; figures to stderr as JSON.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { WASI } from "node:wasi";

const [executions, calls] = process.argv.slice(2, 4).map(Number);
const [file, ...words] = process.argv.slice(4);
const seconds = () => Number(process.hrtime.bigint()) * 1e-9;
const bytes = readFileSync(file);
const baseBytes = process.memoryUsage().rss;

let started = seconds();
const module = new WebAssembly.Module(bytes);
const figures = { compile_s: seconds() - started, instantiate_s: [], execute_s: [], execute_cpu_s: [], base_bytes: baseBytes };

for (let i = 0; i < executions; i++) {
  started = seconds();
  const wasi = new WASI({ version: "preview1", args: [basename(file), ...words], returnOnExit: true });
  const instance = new WebAssembly.Instance(module, wasi.getImportObject());
  const instantiated = seconds();
  const before = process.cpuUsage();
  const status = wasi.start(instance);
  const busy = process.cpuUsage(before);
  figures.execute_s.push(seconds() - instantiated);
  figures.execute_cpu_s.push((busy.user + busy.system) * 1e-6);
  figures.instantiate_s.push(instantiated - started);
  if (status) process.exit(status);
}

// (module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
const add = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(
  "0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b", "hex"))).exports.add;
const call = (count) => { let sum = 0; for (let i = 0; i < count; i++) sum = add(sum, i); return sum; };
call(calls);
started = seconds();
call(calls);
if (calls) figures.call_s = (seconds() - started) / calls;
figures.peak_bytes = process.resourceUsage().maxRSS * 1024;
process.stderr.write(JSON.stringify(figures) + "\n");
