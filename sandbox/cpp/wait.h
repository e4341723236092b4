// The fork server waits here; see fork_server.cc.
