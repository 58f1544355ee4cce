require_relative 'app'

# Puma cuts idle connections when it stops. It stops half a second later, and the clients have let go of them by then.
draining = false
stop = trap('TERM') do
  draining = true
  sleep 0.5
  stop.call
end
use(Class.new do
  define_method(:initialize) { |app| @app = app }
  define_method(:call) do |env|
    status, headers, body = @app.call(env)
    [status, draining ? headers.merge('connection' => 'close') : headers, body]
  end
end)

IO.for_fd(Integer(ENV['NOTIFY_FD']), 'w', autoclose: false).syswrite("online\n")
run App
