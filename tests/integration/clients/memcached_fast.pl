# SPDX-License-Identifier: BSD-3-Clause
# What an application does, with Cache::Memcached::Fast and default options: perl memcached_fast.pl PORT
use strict;
use warnings;
use Cache::Memcached::Fast;

my $cache = Cache::Memcached::Fast->new({servers => ["127.0.0.1:$ARGV[0]"]});
my @keys = map { "key:$_" } 0 .. 99;
die 'set' if grep { !$_ } values %{$cache->set_multi(map { [$_, uc] } @keys)};
my $found = $cache->get_multi(@keys, 'none');
die 'get_multi' unless keys %$found == 100 && $found->{'key:7'} eq 'KEY:7';
die 'miss' if defined $cache->get('none');
my ($cas, $value) = @{$cache->gets('key:1')};
die 'cas' unless $value eq 'KEY:1' && $cache->cas('key:1', $cas, 'x') && !$cache->cas('key:1', $cas, 'y');
$cache->set('n', 5);
die 'incr' unless $cache->incr('n', 2) == 7 && $cache->decr('n', 50) == 0;
die 'append' unless $cache->append('key:1', 'y') && $cache->prepend('key:1', 'w') && $cache->get('key:1') eq 'wxy';
# In void context it asks for no answer.
$cache->set($_, 'quiet') for @keys;
$cache->nowait_push;
die 'quiet' unless $cache->get('key:99') eq 'quiet';
die 'delete' unless $cache->delete('n') && !$cache->delete('n');
die 'touch' unless $cache->touch('key:1', 100);
die 'version' unless values %{$cache->server_versions};
print "done\n";
