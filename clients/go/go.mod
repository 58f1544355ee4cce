module srvwrap

go 1.18
