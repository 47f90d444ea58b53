"""Programs of others, and the loop that most laboratories write, for `atomstream bench --peers`.

The scripts here stand alone: each is run by the interpreter of its own environment and imports nothing of
this program. They print ``listening`` when frames may come, and at the end one line of JSON.
"""
