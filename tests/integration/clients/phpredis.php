<?php
// SPDX-License-Identifier: BSD-3-Clause
// What an application does, with phpredis and default options: php phpredis.php PORT
function check($want, $got) {
    if ($want !== $got) {
        throw new Exception('wanted ' . var_export($want, true) . ', got ' . var_export($got, true));
    }
}

$redis = new Redis();
check(true, $redis->connect('127.0.0.1', (int) $argv[1]));
check(true, $redis->ping());
check(true, $redis->set('greeting', 'hello'));
check('hello', $redis->get('greeting'));
check(false, $redis->get('nothing'));
check(true, $redis->set('lock', '1', ['nx', 'ex' => 100]));
check(false, $redis->set('lock', '1', ['nx', 'ex' => 100]));
$pairs = [];
for ($i = 0; $i < 200; $i++) {
    $pairs["key:$i"] = "value $i";
}
check(true, $redis->mset($pairs));
check(array_values($pairs), $redis->mget(array_keys($pairs)));
$pipe = $redis->multi(Redis::PIPELINE);
foreach ($pairs as $key => $value) {
    $pipe->get($key);
}
check(array_values($pairs), $pipe->exec());
$redis->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
$found = [];
$cursor = null;
while ($some = $redis->scan($cursor, 'key:*')) {
    foreach ($some as $key) {
        $found[$key] = true;
    }
}
check(200, count($found));
check([true, 1, ['x']], $redis->multi()->set('{t}a', '1')->rPush('{t}l', 'x')->lRange('{t}l', 0, -1)->exec());
$redis->watch('{t}a');
check([2], $redis->multi()->incr('{t}a')->exec());
check(['{t}l', 'x'], $redis->blPop(['{t}l'], 1));
check(2, $redis->hSet('h', 'a', '1') + $redis->hSet('h', 'b', '2'));
check(['a' => '1', 'b' => '2'], $redis->hGetAll('h'));
check(['k', 'v'], $redis->eval('return {KEYS[1], ARGV[1]}', ['k', 'v'], 1));
$sha = $redis->script('load', 'return ARGV[1]');
check('v', $redis->evalSha($sha, ['k', 'v'], 1));
check(false, $redis->incr('h'));
check(0, strpos($redis->getLastError(), 'WRONGTYPE'));
check(true, isset($redis->info()['redis_version']));
check(true, $redis->select(1));
check(false, $redis->get('greeting'));
check(true, $redis->select(0));
check(200, $redis->del(array_keys($pairs)));
$redis->close();
echo "done\n";
