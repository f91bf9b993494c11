<?php
// SPDX-License-Identifier: BSD-3-Clause
// What an application does, with the extension memcached (libmemcached): php libmemcached.php PORT
function check($want, $got) {
    if ($want !== $got) {
        throw new Exception('wanted ' . var_export($want, true) . ', got ' . var_export($got, true));
    }
}

$cache = new Memcached();
check(true, $cache->addServer('127.0.0.1', (int) $argv[1]));
$pairs = [];
for ($i = 0; $i < 100; $i++) {
    $pairs["key:$i"] = ['of' => $i];
}
check(true, $cache->setMulti($pairs, 100));
check($pairs, $cache->getMulti(array_merge(array_keys($pairs), ['none']), Memcached::GET_PRESERVE_ORDER) ?
      array_filter($cache->getMulti(array_merge(array_keys($pairs), ['none']), Memcached::GET_PRESERVE_ORDER)) : null);
check(false, $cache->get('none'));
check(Memcached::RES_NOTFOUND, $cache->getResultCode());
$found = $cache->get('key:1', null, Memcached::GET_EXTENDED);
check(['of' => 1], $found['value']);
check(true, $cache->cas($found['cas'], 'key:1', 'mine'));
check(false, $cache->cas($found['cas'], 'key:1', 'yours'));
check(false, $cache->add('key:2', 'x'));
check(true, $cache->replace('key:2', 'y'));
check(true, $cache->set('n', 5));
check(7, $cache->increment('n', 2));
check(0, $cache->decrement('n', 50));
check(true, $cache->touch('n', 100));
check(true, $cache->delete('n'));
check(true, count($cache->getVersion()) === 1);
$cache->setOption(Memcached::OPT_NO_BLOCK, true);
$cache->setOption(Memcached::OPT_BUFFER_WRITES, true);
foreach ($pairs as $key => $value) {
    $cache->set($key, 'buffered');
}
check(true, $cache->flushBuffers());
check('buffered', $cache->get('key:99'));
$binary = new Memcached();
$binary->setOption(Memcached::OPT_BINARY_PROTOCOL, true);
$binary->addServer('127.0.0.1', (int) $argv[1]);
check(false, $binary->set('a', 'b'));
echo "done\n";
