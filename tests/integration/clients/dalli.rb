# SPDX-License-Identifier: BSD-3-Clause
# dalli speaks the binary protocol, which is refused: it must be told so at once, not wait. Usage: ruby dalli.rb PORT
require 'dalli'

Dalli.logger.level = Logger::FATAL
begin
  Dalli::Client.new("127.0.0.1:#{ARGV[0]}", protocol: :binary, socket_timeout: 5).set('a', 'b')
  raise 'the binary protocol is served'
rescue Dalli::DalliError
  puts 'done'
end
