'use strict';
// Node's net, http, dgram and cluster against themselves on the loopback: `main.js NAME` plays the case of that name and ends with
// status 0 when all was as it should be, `main.js --list` names them all.

const assert = require('node:assert');
const cluster = require('node:cluster');
const crypto = require('node:crypto');
const dgram = require('node:dgram');
const { once } = require('node:events');
const http = require('node:http');
const net = require('node:net');

// What a worker of the cluster cases does.
const WORKERS = {
  http() {
    http.createServer((request, response) => response.end(`${cluster.worker.id}`)).listen(0, '127.0.0.1');
  },
  net() {
    net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  },
  dgram() {
    const socket = dgram.createSocket('udp4');
    socket.on('message', (message, from) => socket.send(`${cluster.worker.id} ${message}`, from.port, from.address));
    socket.bind(0, '127.0.0.1');
  },
};

async function listening(server, host = '127.0.0.1') {
  server.listen(0, host);
  await once(server, 'listening');
  return server.address().port;
}

async function closed(server) {
  server.close();
  await once(server, 'close');
}

async function connected(port, host = '127.0.0.1', options = {}) {
  const socket = net.connect({ port, host, ...options });
  await once(socket, 'connect');
  return socket;
}

async function text(stream) {
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  await once(stream, 'end');
  return Buffer.concat(chunks).toString();
}

function digest(bytes) {
  return crypto.createHash('sha256').update(bytes).digest('hex');
}

async function fetched(options, body) {
  const request = http.request({ host: '127.0.0.1', ...options });
  request.end(body);
  const [response] = await once(request, 'response');
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

async function bound(kind, address) {
  const socket = dgram.createSocket(kind);
  socket.bind(0, address);
  await once(socket, 'listening');
  return socket;
}

async function workers(count, kind, policy) {
  cluster.schedulingPolicy = policy;
  const forked = [];
  for (let index = 0; index < count; index += 1) forked.push(cluster.fork({ SUITE_WORKER: kind }));
  const addresses = await Promise.all(forked.map(async (worker) => (await once(worker, 'listening'))[0]));
  const ports = new Set(addresses.map((address) => address.port));
  assert.strictEqual(ports.size, 1, 'the workers share one port');
  return { forked, port: addresses[0].port };
}

async function disbanded(forked) {
  await Promise.all(
    forked.map(async (worker) => {
      const ended = once(worker, 'exit');
      worker.kill();
      await ended;
    }),
  );
}

async function answeredByAll(policy) {
  const { forked, port } = await workers(2, 'http', policy);
  try {
    const seen = new Set();
    for (let request = 0; request < 200 && seen.size < 2; request += 1) {
      seen.add((await fetched({ port, agent: false })).body);
    }
    assert.ok(seen.size >= 1);
    if (policy === cluster.SCHED_RR) assert.strictEqual(seen.size, 2, 'both workers answer');
  } finally {
    await disbanded(forked);
  }
}

const CASES = {
  async net_echo() {
    const server = net.createServer((socket) => socket.pipe(socket));
    const socket = await connected(await listening(server));
    socket.end('there and back');
    assert.strictEqual(await text(socket), 'there and back');
    await closed(server);
  },

  async net_echo_over_ipv6() {
    const server = net.createServer((socket) => socket.pipe(socket));
    const socket = await connected(await listening(server, '::1'), '::1');
    socket.end('six');
    assert.strictEqual(await text(socket), 'six');
    assert.strictEqual(socket.remoteFamily ?? 'IPv6', 'IPv6');
    await closed(server);
  },

  async net_dual_stack() {
    const server = net.createServer((socket) => socket.end(socket.remoteAddress));
    const socket = await connected(await listening(server, '::'), '127.0.0.1');
    assert.strictEqual(await text(socket), '::ffff:127.0.0.1');
    await closed(server);
  },

  async net_localhost_by_name() {
    const server = net.createServer((socket) => socket.end('named'));
    const socket = await connected(await listening(server), 'localhost');
    assert.strictEqual(await text(socket), 'named');
    await closed(server);
  },

  async net_eight_mebibytes_each_way() {
    const body = Buffer.alloc(8 << 20, 'tubesock ');
    const server = net.createServer((socket) => socket.pipe(socket));
    const socket = await connected(await listening(server));
    socket.end(body);
    assert.strictEqual(digest(await text(socket)), digest(body.toString()));
    await closed(server);
  },

  async net_half_open() {
    const server = net.createServer({ allowHalfOpen: true }, async (socket) => {
      const received = await text(socket);
      socket.end(received.toUpperCase());
    });
    const socket = await connected(await listening(server), '127.0.0.1', { allowHalfOpen: true });
    socket.end('after the end');
    assert.strictEqual(await text(socket), 'AFTER THE END');
    await closed(server);
  },

  async net_pause_and_drain() {
    const server = net.createServer((socket) => {
      socket.pause();
      setImmediate(() => socket.resume());
      socket.on('end', () => socket.end(`${socket.bytesRead}`));
    });
    const socket = await connected(await listening(server));
    const whole = 4 << 20;
    let drains = 0;
    for (let sent = 0; sent < whole; sent += 65536) {
      if (!socket.write(Buffer.alloc(65536))) {
        await once(socket, 'drain');
        drains += 1;
      }
    }
    socket.end();
    assert.strictEqual(await text(socket), `${whole}`);
    assert.ok(drains > 0, 'backpressure was seen');
    await closed(server);
  },

  async net_refused() {
    const server = net.createServer();
    const port = await listening(server);
    await closed(server);
    const [error] = await once(net.connect(port, '127.0.0.1'), 'error').catch((reason) => [reason]);
    assert.strictEqual(error.code, 'ECONNREFUSED');
  },

  async net_address_in_use() {
    const server = net.createServer();
    const port = await listening(server);
    const other = net.createServer();
    other.listen(port, '127.0.0.1');
    const [error] = await once(other, 'error');
    assert.strictEqual(error.code, 'EADDRINUSE');
    await closed(server);
  },

  async net_reset() {
    const server = net.createServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
    const socket = await connected(await listening(server));
    socket.write('reset me');
    const [error] = await once(socket, 'error');
    assert.strictEqual(error.code, 'ECONNRESET');
    await closed(server);
  },

  async net_timeout() {
    const server = net.createServer((socket) => socket.on('error', () => {}));
    const socket = await connected(await listening(server));
    socket.setTimeout(50);
    await once(socket, 'timeout');
    socket.destroy();
    await closed(server);
  },

  async net_options() {
    const server = net.createServer((socket) => socket.pipe(socket));
    const socket = await connected(await listening(server));
    socket.setNoDelay(true).setKeepAlive(true, 30_000);
    socket.end('options');
    assert.strictEqual(await text(socket), 'options');
    await closed(server);
  },

  async net_local_address_and_port() {
    const probe = net.createServer();
    const localPort = await listening(probe);
    await closed(probe);
    const server = net.createServer((socket) => socket.end(`${socket.remoteAddress}:${socket.remotePort}`));
    const socket = await connected(await listening(server), '127.0.0.1', { localAddress: '127.0.0.2', localPort });
    assert.strictEqual(await text(socket), `127.0.0.2:${localPort}`);
    await closed(server);
  },

  async net_three_hundred_connections() {
    const server = net.createServer((socket) => socket.pipe(socket));
    const port = await listening(server);
    const echoes = Array.from({ length: 300 }, async (_, number) => {
      const socket = await connected(port);
      socket.end(`${number}`);
      assert.strictEqual(await text(socket), `${number}`);
    });
    await Promise.all(echoes);
    await closed(server);
  },

  async http_get() {
    const server = http.createServer((request, response) => response.end(`${request.method} ${request.url}`));
    const port = await listening(server);
    const { status, body } = await fetched({ port, path: '/path?query' });
    assert.deepStrictEqual([status, body], [200, 'GET /path?query']);
    await closed(server);
  },

  async http_chunked_upload() {
    const server = http.createServer(async (request, response) => response.end(digest(await text(request))));
    const port = await listening(server);
    const body = 'part '.repeat(500_000);
    const { body: sum } = await fetched({ port, method: 'POST', headers: { 'Transfer-Encoding': 'chunked' } }, body);
    assert.strictEqual(sum, digest(body));
    await closed(server);
  },

  async http_keep_alive() {
    const peers = new Set();
    const server = http.createServer((request, response) => {
      peers.add(request.socket.remotePort);
      response.end('kept');
    });
    const port = await listening(server);
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let request = 0; request < 50; request += 1) {
      assert.strictEqual((await fetched({ port, agent })).body, 'kept');
    }
    assert.strictEqual(peers.size, 1, 'one connection');
    agent.destroy();
    await closed(server);
  },

  async http_pipelined() {
    const server = http.createServer((request, response) => response.end(request.url));
    const socket = await connected(await listening(server));
    socket.write('GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    assert.match(await text(socket), /\/1[^]*\/2$/);
    await closed(server);
  },

  async http_hundred_at_once() {
    const server = http.createServer((request, response) => response.end(request.url));
    const port = await listening(server);
    const requests = Array.from({ length: 100 }, (_, number) => fetched({ port, path: `/${number}`, agent: false }));
    const bodies = (await Promise.all(requests)).map((response) => response.body);
    assert.deepStrictEqual(bodies, bodies.map((_, number) => `/${number}`));
    await closed(server);
  },

  async http_upgrade() {
    const server = http.createServer();
    server.on('upgrade', (request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
      socket.pipe(socket);
    });
    const port = await listening(server);
    const request = http.get({ port, host: '127.0.0.1', headers: { Connection: 'Upgrade', Upgrade: 'echo' } });
    const [, socket] = await once(request, 'upgrade');
    socket.end('upgraded');
    assert.strictEqual(await text(socket), 'upgraded');
    await closed(server);
  },

  async http_aborted_by_the_client() {
    const server = http.createServer((request, response) => response.write('the first part'));
    const port = await listening(server);
    const gone = new Promise((resolve) => server.on('connection', (socket) => socket.once('close', resolve)));
    const request = http.get({ port, host: '127.0.0.1', agent: false });
    const [response] = await once(request, 'response');
    response.on('error', () => {});
    request.on('error', () => {});
    request.destroy();
    await gone;
    await closed(server);
  },

  async http_fetch() {
    const server = http.createServer((request, response) => response.end('fetched'));
    const port = await listening(server);
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { Connection: 'close' } });
    assert.strictEqual(await response.text(), 'fetched');
    await closed(server);
  },

  async dgram_echo() {
    const server = await bound('udp4', '127.0.0.1');
    server.on('message', (message, from) => server.send(message, from.port, from.address));
    const client = await bound('udp4', '127.0.0.1');
    client.send('there and back', server.address().port, '127.0.0.1');
    const [message, from] = await once(client, 'message');
    assert.deepStrictEqual([`${message}`, from.port], ['there and back', server.address().port]);
    client.close();
    server.close();
  },

  async dgram_connected_over_ipv6() {
    const server = await bound('udp6', '::1');
    server.on('message', (message, from) => server.send(message, from.port, from.address));
    const client = dgram.createSocket('udp6');
    client.connect(server.address().port, '::1');
    await once(client, 'connect');
    client.send('connected');
    assert.strictEqual(`${(await once(client, 'message'))[0]}`, 'connected');
    assert.strictEqual(client.remoteAddress().address, '::1');
    client.close();
    server.close();
  },

  async dgram_refused() {
    const gone = await bound('udp4', '127.0.0.1');
    const { port } = gone.address();
    gone.close();
    const client = dgram.createSocket('udp4');
    client.connect(port, '127.0.0.1');
    await once(client, 'connect');
    client.send('nobody hears');
    const [error] = await once(client, 'error');
    assert.strictEqual(error.code, 'ECONNREFUSED');
    client.close();
  },

  async dgram_scattered_and_largest() {
    const server = await bound('udp4', '127.0.0.1');
    const client = await bound('udp4', '127.0.0.1');
    const parts = [Buffer.alloc(30_000, 'a'), Buffer.alloc(35_507, 'b')];
    client.send(parts, server.address().port, '127.0.0.1');
    const [message] = await once(server, 'message');
    assert.strictEqual(digest(message), digest(Buffer.concat(parts)));
    client.close();
    server.close();
  },

  async dgram_too_large() {
    const client = await bound('udp4', '127.0.0.1');
    const sent = new Promise((resolve) => client.send(Buffer.alloc(65_508), 9, '127.0.0.1', resolve));
    assert.strictEqual((await sent).code, 'EMSGSIZE');
    client.close();
  },

  async dgram_buffers() {
    const socket = await bound('udp4', '127.0.0.1');
    socket.setRecvBufferSize(32_768);
    socket.setSendBufferSize(32_768);
    assert.deepStrictEqual([socket.getRecvBufferSize(), socket.getSendBufferSize()], [65_536, 65_536]);
    socket.close();
  },

  async dgram_ttl_and_broadcast() {
    const socket = await bound('udp4', '0.0.0.0');
    socket.setTTL(5);
    socket.setBroadcast(true);
    socket.close();
  },

  async dgram_multicast_to_itself() {
    const socket = await bound('udp4', '0.0.0.0');
    socket.setMulticastTTL(0);
    socket.setMulticastLoopback(true);
    socket.setMulticastInterface('127.0.0.1');
    socket.addMembership('239.1.2.3', '127.0.0.1');
    socket.send('to the group', socket.address().port, '239.1.2.3');
    assert.strictEqual(`${(await once(socket, 'message'))[0]}`, 'to the group');
    socket.dropMembership('239.1.2.3', '127.0.0.1');
    socket.close();
  },

  async dgram_shared_address() {
    const first = dgram.createSocket({ type: 'udp4', reuseAddr: true });
    first.bind(0, '127.0.0.1');
    await once(first, 'listening');
    const second = dgram.createSocket({ type: 'udp4', reuseAddr: true });
    second.bind(first.address().port, '127.0.0.1');
    await once(second, 'listening');
    first.close();
    second.close();
  },

  async cluster_http_round_robin() {
    await answeredByAll(cluster.SCHED_RR);
  },

  async cluster_http_shared_listener() {
    await answeredByAll(cluster.SCHED_NONE);
  },

  async cluster_net() {
    const { forked, port } = await workers(2, 'net', cluster.SCHED_RR);
    try {
      const socket = await connected(port);
      socket.end('by a worker');
      assert.strictEqual(await text(socket), 'by a worker');
    } finally {
      await disbanded(forked);
    }
  },

  async cluster_net_worker_dies() {
    const { forked, port } = await workers(2, 'net', cluster.SCHED_NONE);
    try {
      forked[0].process.kill('SIGKILL');
      await once(forked[0], 'exit');
      const socket = await connected(port);
      socket.end('by the other');
      assert.strictEqual(await text(socket), 'by the other');
    } finally {
      await disbanded(forked.slice(1));
    }
  },

  async cluster_dgram() {
    const { forked, port } = await workers(2, 'dgram', cluster.SCHED_RR);
    try {
      const client = await bound('udp4', '127.0.0.1');
      client.send('question', port, '127.0.0.1');
      assert.match(`${(await once(client, 'message'))[0]}`, /^[0-9]+ question$/);
      client.close();
    } finally {
      await disbanded(forked);
    }
  },
};

async function main(name) {
  process.exitCode = 1; // What a case leaves when nothing is left to wait for before it is done.
  await CASES[name]();
  process.exit(0); // Not held up by what other ends have yet to notice.
}

if (cluster.isWorker) {
  WORKERS[process.env.SUITE_WORKER]();
} else if (process.argv[2] === '--list') {
  console.log(Object.keys(CASES).join('\n'));
} else {
  main(process.argv[2]);
}
