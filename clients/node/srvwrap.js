// SPDX-License-Identifier: 0BSD
// The worker protocol of srvwrap, in one file to copy.
//
//     const { online, offline, onShutdown, listeners } = require('./srvwrap');
//
//     server.listen(listeners()[0] ?? 8000, online); // now srvwrap knows that it serves
//     onShutdown(finish);                            // finish() is called once, when srvwrap wants this process to end
//
// Not run by srvwrap, all four do nothing, and listeners() is empty. Nothing here keeps the process alive.
'use strict';

const fs = require('fs');
const net = require('net');

const notice = 'NOTIFY_FD' in process.env ? inherited('NOTIFY_FD') : undefined;

// Says that connections are accepted.
function online(error) {
  if (error instanceof Error) throw error; // express 5 calls back with it, fastify resolves to an address
  say('online');
}

// Says that this process is about to end and is to be replaced. Finish afterwards: nobody will ask.
function offline(why = '') {
  say(`offline ${why.replace(/\s+/g, ' ')}`.trim());
}

// Has finish() called once, on the line from srvwrap, SIGTERM or SIGINT. It is to lead to this: close the listeners,
// answer for half a second with `Connection: close`, close what is idle, and let the process end.
function onShutdown(finish) {
  if (notice === undefined) return;
  let told = false;
  const once = () => {
    if (told) return;
    told = true;
    finish();
  };
  process.on('SIGTERM', once);
  process.on('SIGINT', once);
  onLine((line) => line === '"shutdown"' && once(), once);
}

// The listening sockets, in the operator's order, each as server.listen() takes it.
function listeners() {
  const found = [];
  while (notice !== undefined && `LISTEN_FD_${found.length}` in process.env) {
    found.push({ fd: inherited(`LISTEN_FD_${found.length}`) });
  }
  return found;
}

function say(line) {
  if (notice === undefined) return;
  try {
    fs.writeSync(notice, `${line}\n`);
  } catch (error) {
    // Full: node does not let a write wait, and srvwrap reads on. EPIPE: it is gone, and this process will be killed.
    if (error.code === 'EAGAIN') setTimeout(say, 20, line);
    else if (error.code !== 'EPIPE') throw error;
  }
}

// Where srvwrap has set NODE_CHANNEL_FD, Node reads the descriptor itself and makes messages of its lines.
function onLine(take, end) {
  if (process.channel) {
    process.on('message', (message) => take(JSON.stringify(message)));
    process.on('disconnect', end);
    process.channel.unref();
    return;
  }
  let received = '';
  const reader = new net.Socket({ fd: notice, readable: true, writable: false });
  reader.on('data', (chunk) => {
    const lines = (received + chunk).split(/\r?\n/);
    received = lines.pop();
    lines.forEach(take);
  });
  reader.on('end', end);
  reader.on('error', end);
  reader.unref();
}

// The number in this variable. That nothing is behind it is a mistake to be told at once.
function inherited(variable) {
  const number = Number(process.env[variable]);
  try {
    if (fs.fstatSync(number).isSocket()) return number;
  } catch {
    // Not open, or not a number.
  }
  console.error(`${variable}=${process.env[variable]} is no open socket: what stands between srvwrap and this ` +
    'program has closed it (npm, npx, yarn and pnpm do), or this is a child that was given the variable without the ' +
    'descriptor');
  process.exit(1);
}

module.exports = { online, offline, onShutdown, listeners };
