<?php
// SPDX-License-Identifier: BSD-3-Clause
// What an application does, with Predis and default options: php predis.php PORT
require '/usr/share/php/Predis/Autoloader.php';
Predis\Autoloader::register();

function check($want, $got) {
    if ($want !== $got) {
        throw new Exception('wanted ' . var_export($want, true) . ', got ' . var_export($got, true));
    }
}

$redis = new Predis\Client(['host' => '127.0.0.1', 'port' => (int) $argv[1]]);
check('PONG', (string) $redis->ping());
check('OK', (string) $redis->set('greeting', 'hello'));
check('hello', $redis->get('greeting'));
check(null, $redis->get('nothing'));
$pairs = [];
for ($i = 0; $i < 200; $i++) {
    $pairs["key:$i"] = "value $i";
}
$redis->mset($pairs);
check(array_values($pairs), $redis->mget(array_keys($pairs)));
check(array_values($pairs), $redis->pipeline(function ($pipe) use ($pairs) {
    foreach ($pairs as $key => $value) {
        $pipe->get($key);
    }
}));
$found = [];
foreach (new Predis\Collection\Iterator\Keyspace($redis, 'key:*') as $key) {
    $found[$key] = true;
}
check(200, count($found));
$replies = $redis->transaction(function ($tx) {
    $tx->set('{t}a', '1');
    $tx->incr('{t}a');
});
check(2, $replies[1]);
$replies = $redis->transaction(['watch' => '{t}a', 'cas' => true], function ($tx) {
    check('2', $tx->get('{t}a'));
    $tx->multi();
    $tx->incr('{t}a');
});
check([3], $replies);
$redis->rpush('l', ['x']);
check(['l', 'x'], $redis->blpop(['l'], 1));
$redis->hmset('h', ['a' => '1', 'b' => '2']);
check(['a' => '1', 'b' => '2'], $redis->hgetall('h'));
check(['k', 'v'], $redis->eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'v'));
try {
    $redis->incr('h');
    throw new Exception('no error');
} catch (Predis\Response\ServerException $e) {
    check('WRONGTYPE', $e->getErrorType());
}
check(true, isset($redis->info()['Server']['redis_version']));
check(200, $redis->del(array_keys($pairs)));
$redis->quit();
echo "done\n";
