"""Pages for people (`--report`): one file of HTML each, with its pictures in it, that opens anywhere without a network.

`templates/` has the pages, `render` makes them with jinja2 (the extra `report`), `charts` computes where a picture's
lines go, and `run` is the page about one run. Nothing on a page is a script, and its policy allows none; whatever a
list, a nameserver or an error says is escaped. A page's size is bounded, since what it shows is counts.
"""
