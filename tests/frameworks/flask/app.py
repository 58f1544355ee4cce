# A Flask application like any other: nothing here knows srvwrap.
import os
import time

from flask import Flask

app = Flask(__name__)
BODY = f"{os.getpid()} {os.environ['SRVWRAP_SLOT']} {os.environ['SRVWRAP_GENERATION']}\n"


@app.get("/")
def index():
    return BODY


@app.get("/slow")
def slow():
    time.sleep(0.3)
    return BODY
