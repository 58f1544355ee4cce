import srvwrap

worker_class = "gthread"
threads = 8


def post_worker_init(worker):
    srvwrap.online()  # the application is loaded
