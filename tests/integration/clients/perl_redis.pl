# SPDX-License-Identifier: BSD-3-Clause
# What an application does, with Perl's Redis and default options: perl perl_redis.pl PORT
use strict;
use warnings;
use Redis;

sub check {
    my ($want, $got) = map { defined $_ ? ref $_ ? join(',', @$_) : $_ : '(nothing)' } @_;
    die "wanted $want, got $got" if $want ne $got;
}

my $redis = Redis->new(server => "127.0.0.1:$ARGV[0]");
check('PONG', $redis->ping);
check('OK', $redis->set(greeting => 'hello'));
check('hello', $redis->get('greeting'));
check(undef, $redis->get('nothing'));
my @keys = map { "key:$_" } 0 .. 199;
check('OK', $redis->mset(map { ($_, uc) } @keys));
check([map {uc} @keys], [$redis->mget(@keys)]);
my @seen;
for my $key (@keys) {
    $redis->get($key, sub { push @seen, $_[0] });
}
$redis->wait_all_responses;
check([map {uc} @keys], \@seen);
my ($cursor, %found) = (0);
do {
    my ($next, $some) = $redis->scan($cursor, 'MATCH', 'key:*', 'COUNT', 50);
    $found{$_} = 1 for @$some;
    $cursor = $next;
} while ($cursor != 0);
check(200, scalar keys %found);
$redis->multi;
$redis->set('{t}a', 1);
$redis->incr('{t}a');
check(['OK', 2], [$redis->exec]);
$redis->watch('{t}a');
$redis->multi;
$redis->incr('{t}a');
check([3], [$redis->exec]);
$redis->rpush('l', 'x');
check(['l', 'x'], [$redis->blpop('l', 1)]);
$redis->hset('h', 'a', 1);
check(['a', 1], [$redis->hgetall('h')]);
check(['k', 'v'], [$redis->eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'v')]);
eval { $redis->incr('h') };
die "no error: $@" unless $@ =~ /WRONGTYPE/;
die 'no version' unless $redis->info->{redis_version};
check(200, $redis->del(@keys));
$redis->quit;
print "done\n";
