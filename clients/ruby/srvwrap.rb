# SPDX-License-Identifier: 0BSD
# The worker protocol of srvwrap, in one file to copy.
#
#     sockets = Srvwrap.listeners                     # accept on these: select, and take :wait_readable as "try again"
#     Thread.new(&Srvwrap.on_shutdown { finish })     # finish is called once, when this process is to end
#     Srvwrap.online                                  # now srvwrap knows that it serves
#
# Not run by srvwrap, all four do nothing, and listeners is empty. There is no thread here but that of the caller.

require 'socket'

module Srvwrap
  class << self
    # Says that connections are accepted.
    def online
      say('online')
    end

    # Says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask.
    def offline(why = '')
      say("offline #{why.split.join(' ')}".rstrip)
    end

    # From this call on SIGTERM and SIGINT do not end the process. What is returned waits for one of them or for the
    # line from srvwrap, and then calls the block: run it in a thread. There, other than in a signal handler, the block
    # may lock and log. It is to lead to this: close the listeners, answer for half a second with `Connection: close`,
    # close what is idle, exit.
    def on_shutdown(&finish)
      return proc {} unless @notice

      told, tell = IO.pipe
      owner = Process.pid
      %w[TERM INT].each do |name|
        trap(name) do
          next tell.write_nonblock('.', exception: false) if Process.pid == owner

          trap(name, 'DEFAULT') # a child by fork, which ends as it would by itself
          Process.kill(name, Process.pid)
        end
      end
      proc do
        wait_for_shutdown(told)
        finish.call
      end
    end

    # The listening sockets, in the operator's order: TCPServer and UNIXServer, non-blocking, since other workers accept
    # on them too. Never call shutdown on one, it stops the socket for all workers; close ends this one's part.
    def listeners
      return [] unless @notice

      @listeners ||= (0..).lazy.map { |n| "LISTEN_FD_#{n}" }.take_while { |each| ENV.key?(each) }
                          .map { |each| listener(each) }.to_a
    end

    private

    def say(line)
      @notice&.write("#{line}\n")
    rescue Errno::EPIPE, Errno::ECONNRESET
      # srvwrap is gone, and this process will be killed.
    end

    # The line, the end of the stream, an error and a signal all mean that it is time to go.
    def wait_for_shutdown(told)
      received = ''
      until IO.select([@notice, told]).first.include?(told)
        chunk = @notice.recv(4096).to_s
        *lines, received = (received + chunk).split("\n", -1)
        return if chunk.empty? || lines.any? { |line| line.chomp("\r") == '"shutdown"' }
      end
    rescue SystemCallError
      # srvwrap is gone.
    end

    def listener(variable)
      any = inherited(variable, 'listening socket') { |socket| socket.getsockopt(:SOCKET, :ACCEPTCONN).bool }
      any.autoclose = false
      kind = any.local_address.unix? ? UNIXServer : TCPServer
      kind.for_fd(any.fileno).tap { |listener| listener.close_on_exec = true }
    end

    # The socket whose number is in this variable, kept from children. Its absence is a mistake to be told at once.
    def inherited(variable, kind = 'open socket')
      socket = BasicSocket.for_fd(Integer(ENV.fetch(variable)))
      socket.close_on_exec = true
      return socket if !block_given? || yield(socket)

      lost(variable, kind)
    rescue SystemCallError, ArgumentError, RangeError
      lost(variable, kind) # no number, or that of a descriptor of Ruby's own, or of none
    end

    def lost(variable, kind)
      abort "#{variable}=#{ENV.fetch(variable)} is no #{kind}: what stands between srvwrap and this program has " \
            'closed it, or this is a child that was given the variable without the descriptor'
    end
  end

  @notice = inherited('NOTIFY_FD') if ENV.key?('NOTIFY_FD')
end
