const http = require('http'), crypto = require('crypto'), fs = require('fs'), os = require('os');
const { Worker } = require('worker_threads'), { execFileSync, fork } = require('child_process');
const path = require('path');

async function main() {
  console.log(crypto.createHash('sha256').update('x').digest('hex').length);
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'k-'));
  fs.writeFileSync(path.join(dir, 'f'), 'x'.repeat(1000));
  console.log(fs.statSync(path.join(dir, 'f')).size);
  fs.rmSync(dir, { recursive: true });
  console.log(execFileSync('echo', ['through']).toString().trim());
  const worker = new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
  console.log(await new Promise((done) => worker.on('message', done)));
  const server = http.createServer((request, reply) => reply.end('hello ' + request.url));
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const reply = await fetch(`http://127.0.0.1:${server.address().port}/x`);
  console.log(reply.status, await reply.text());
  server.close();
}
main().then(() => process.exit(0));
