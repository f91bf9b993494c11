// SPDX-License-Identifier: BSD-3-Clause
// What an application does, by one client library with default options: node work.js LIBRARY PORT.
'use strict';
const assert = require('assert');

const [library, port] = [process.argv[2], Number(process.argv[3])];
const { createRequire } = require('module');
const load = createRequire(process.cwd() + '/');

// The same calls of both families of libraries.
async function open() {
  if (library.startsWith('ioredis')) {
    const Redis = load(library);
    const client = new (Redis.Redis || Redis)(port, '127.0.0.1');
    await new Promise((resolve, reject) => client.once('ready', resolve).once('error', reject));
    return { call: (...words) => client.call(...words), end: () => client.quit(), client };
  }
  const client = load(library).createClient({ url: 'redis://127.0.0.1:' + port });
  client.on('error', (error) => { throw error; });
  await client.connect();
  return { call: (...words) => client.sendCommand(words.map(String)), end: () => client.quit(), client };
}

async function work({ call, client }) {
  assert.strictEqual(await client.set('greeting', 'hello'), 'OK');
  assert.strictEqual(await client.get('greeting'), 'hello');
  assert.strictEqual(await client.get('nothing'), null);
  assert.strictEqual(await client.incr('n'), 1);
  const names = Array.from({ length: 300 }, (_, i) => 'key:' + i);
  await Promise.all(names.map((name, i) => client.set(name, 'value ' + i)));
  const values = await Promise.all(names.map((name) => client.get(name)));
  values.forEach((value, i) => assert.strictEqual(value, 'value ' + i));
  assert.deepStrictEqual(await call('MGET', ...names), values);
  assert.strictEqual(await call('DBSIZE'), 302);
  let cursor = '0';
  const found = new Set();
  do {
    const [next, some] = await call('SCAN', cursor, 'MATCH', 'key:*', 'COUNT', '50');
    some.forEach((name) => found.add(name));
    cursor = next;
  } while (String(cursor) !== '0');
  assert.strictEqual(found.size, 300);
  assert.strictEqual(await call('HSET', 'h', 'a', '1', 'b', '2'), 2);
  const all = library.startsWith('ioredis') ? await client.hgetall('h') : await client.hGetAll('h');
  assert.deepStrictEqual({ ...all }, { a: '1', b: '2' });
  assert.strictEqual(await call('EVAL', "return redis.call('get', KEYS[1])", '1', 'greeting'), 'hello');
  assert.match(await client.info(), /redis_version:\d/);
  await assert.rejects(call('GET', 'h'), /WRONGTYPE/);
  await transactions(client);
  await waiting(client);
  assert.strictEqual(await client.del(names), 300);
}

// Queued by the library, and sent as one.
async function transactions(client) {
  const replies = await client.multi().set('count', '1').incr('count').exec();
  const [, second] = library.startsWith('ioredis') ? replies.map(([error, reply]) => error || reply) : replies;
  assert.strictEqual(second, 2);
  await client.del('count');
}

// What needs a connection of its own, which the libraries call a duplicate: blocking commands, and listening.
async function waiting(client) {
  const ioredis = library.startsWith('ioredis');
  const waiter = client.duplicate();
  const listener = client.duplicate();
  if (!ioredis) await Promise.all([waiter.connect(), listener.connect()]);
  const popped = ioredis ? waiter.blpop('queue', 5) : waiter.blPop('queue', 5);
  await (ioredis ? client.rpush('queue', 'job') : client.rPush('queue', 'job'));
  const job = await popped;
  assert.strictEqual(ioredis ? job[1] : job.element, 'job');
  const heard = new Promise((resolve) => {
    if (ioredis) listener.on('message', (channel, text) => resolve(channel + ' ' + text));
    else listener.subscribe('news', (text, channel) => resolve(channel + ' ' + text));
  });
  if (ioredis) await listener.subscribe('news');
  let told = 0;
  while (told === 0) told = await client.publish('news', 'today');
  assert.strictEqual(told, 1);
  assert.strictEqual(await heard, 'news today');
  await listener.unsubscribe('news');
  await Promise.all([waiter.quit(), listener.quit()]);
}

open().then(async (opened) => {
  await work(opened);
  await opened.end();
  console.log('done');
}).catch((error) => {
  console.error(error);
  process.exit(1);
});
