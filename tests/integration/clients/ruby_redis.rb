# SPDX-License-Identifier: BSD-3-Clause
# What an application does, with ruby-redis and default options: ruby ruby_redis.rb PORT
require 'redis'

def check(want, got)
  raise "wanted #{want.inspect}, got #{got.inspect}" unless want == got
end

redis = Redis.new(host: '127.0.0.1', port: ARGV[0].to_i)
check 'PONG', redis.ping
check 'OK', redis.set('greeting', 'hello')
check 'hello', redis.get('greeting')
check nil, redis.get('nothing')
keys = (0...200).map { |i| "key:#{i}" }
check 'OK', redis.mset(*keys.flat_map { |key| [key, key.upcase] })
check keys.map(&:upcase), redis.mget(keys)
check keys.map(&:upcase), (redis.pipelined { |pipe| keys.each { |key| pipe.get(key) } })
check keys.sort, redis.scan_each(match: 'key:*').to_a.uniq.sort
check ['OK', 1, %w[x]], (redis.multi do |multi|
  multi.set('{t}a', '1')
  multi.rpush('{t}l', 'x')
  multi.lrange('{t}l', 0, -1)
end)
redis.watch('{t}a') do
  check '1', redis.get('{t}a')
  check [2], redis.multi { |multi| multi.incr('{t}a') }
end
check ['{t}l', 'x'], redis.blpop('{t}l', timeout: 1)
check nil, redis.blpop('{t}l', timeout: 0.01)
redis.hset('h', 'a', '1', 'b', '2')
check({ 'a' => '1', 'b' => '2' }, redis.hgetall('h'))
sha = redis.script(:load, 'return {KEYS[1], ARGV[1]}')
check %w[k v], redis.evalsha(sha, keys: ['k'], argv: ['v'])
check 3, redis.eval('return 3')
redis.zadd('z', [[1, 'a'], [2.5, 'b']])
check [['a', 1.0], ['b', 2.5]], redis.zrange('z', 0, -1, with_scores: true)
begin
  redis.incr('h')
  raise 'no error'
rescue Redis::CommandError => e
  raise unless e.message.start_with?('WRONGTYPE')
end
heard = []
listener = Redis.new(host: '127.0.0.1', port: ARGV[0].to_i)
listener.subscribe('news', 'weather') do |on|
  on.subscribe { |_, count| 3.times { |i| redis.publish(%w[news weather][i % 2], i) } if count == 2 }
  on.message do |_, text|
    heard << text.to_i
    listener.unsubscribe if heard.size == 3
  end
end
check [0, 1, 2], heard.sort
check 'hello', listener.get('greeting')
raise 'no version' unless redis.info['redis_version']
check 1, redis.exists('greeting')
check 200, redis.del(*keys)
redis.close
puts 'done'
