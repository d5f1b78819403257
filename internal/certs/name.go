package certs

import "regexp"

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// NameRule says in words what IsName lets pass.
const NameRule = "1 to 100 letters (A-Z, a-z), digits, dots, dashes and underscores, the first a letter or a digit"

// IsName reports whether a text can be the name of a node, or of a zone. Such a name can be the
// common name of a certificate and of a directory, a segment of a URL's path, and a column of a
// table on a terminal.
func IsName(s string) bool { return nodeName.MatchString(s) }
