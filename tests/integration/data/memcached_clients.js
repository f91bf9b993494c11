// SPDX-License-Identifier: BSD-3-Clause
// Does the everyday work with the clients "memcached" and "memcache-client" on 127.0.0.1:PORT. Usage: node FILE PORT
const assert = require('assert');
const { promisify } = require('util');
const port = process.argv[2];

async function memcached() {
  const Memcached = require('memcached');
  const client = new Memcached('127.0.0.1:' + port, { retries: 0, timeout: 5000 });
  const call = (name, ...words) => promisify(client[name]).call(client, ...words);
  const keys = Array.from({ length: 100 }, (_, i) => 'a' + i);
  for (const key of keys) assert.strictEqual(await call('set', key, { of: key }, 100), true);
  const found = await call('getMulti', [...keys, 'none']);
  assert.deepStrictEqual(Object.keys(found).sort(), [...keys].sort());
  assert.deepStrictEqual(found.a17, { of: 'a17' });
  assert.strictEqual(await call('get', 'none'), undefined);
  const { cas } = await call('gets', 'a1');
  assert.strictEqual(await call('cas', 'a1', 'new', cas, 100), true);
  assert.strictEqual(await call('cas', 'a1', 'newer', cas, 100), false);
  await assert.rejects(call('add', 'a1', 'x', 100));
  assert.strictEqual(await call('replace', 'a1', 'x', 100), true);
  assert.strictEqual(await call('append', 'a1', 'y'), true);
  assert.strictEqual(await call('prepend', 'a1', 'w'), true);
  assert.strictEqual(await call('get', 'a1'), 'wxy');
  assert.strictEqual(await call('set', 'n', 40, 100), true);
  assert.strictEqual(await call('incr', 'n', 2), 42);
  assert.strictEqual(await call('decr', 'n', 50), 0);
  assert.strictEqual(await call('touch', 'n', 100), true);
  assert.strictEqual(await call('del', 'n'), true);
  assert.strictEqual(await call('del', 'n'), false);
  const large = Buffer.alloc(500000, 'z');
  assert.strictEqual(await call('set', 'large', large, 100), true);
  assert.ok(large.equals(await call('get', 'large')));
  assert.ok((await call('version'))[0].version);
  assert.strictEqual((await call('stats'))[0].threads, 1);
  await assert.rejects(call('flush'));
  assert.deepStrictEqual(await Promise.all(keys.slice(2).map((key) => call('get', key))),
    keys.slice(2).map((of) => ({ of })));
  client.end();
}

async function memcacheClient() {
  const { MemcacheClient } = require('memcache-client');
  const client = new MemcacheClient({ server: '127.0.0.1:' + port, cmdTimeout: 5000 });
  const keys = Array.from({ length: 100 }, (_, i) => 'b' + i);
  await Promise.all(keys.map((key) => client.set(key, { of: key })));
  const found = await client.get([...keys, 'none']);
  assert.strictEqual(Object.keys(found).length, 100);
  assert.deepStrictEqual(found.b17.value, { of: 'b17' });
  const { casUniq } = await client.gets('b1');
  assert.deepStrictEqual(await client.cas('b1', 'x', { casUniq }), ['STORED']);
  await assert.rejects(client.cas('b1', 'x', { casUniq }));
  await client.set('m', '5');
  assert.strictEqual(await client.incr('m', 3), '8');
  assert.deepStrictEqual(await client.delete('m'), ['DELETED']);
  await client.set('q', '1', { noreply: true });
  assert.strictEqual((await client.get('q')).value, '1');
  client.shutdown();
}

memcached().then(memcacheClient).then(() => { console.log('done'); process.exit(0); },
  (error) => { console.error(error); process.exit(1); });
