"""Objects that packages publish, put to the test as their users hold them: `rows` (one judged, and kept), `page` (what they came to),
`options` (of the scripts)."""
