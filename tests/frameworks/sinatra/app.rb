# A Sinatra application like any other: nothing here knows srvwrap.
require 'sinatra/base'

class App < Sinatra::Base
  BODY = "#{Process.pid} #{ENV['SRVWRAP_SLOT']} #{ENV['SRVWRAP_GENERATION']}\n"

  get('/') { BODY }

  get('/slow') do
    sleep 0.3
    BODY
  end
end
