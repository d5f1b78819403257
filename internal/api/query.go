package api

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// listed ends the name, as queryOf takes it, of what a query may say several times.
const listed = "..."

// queryOf reads the query of a request that may say these names. It refuses what it cannot read,
// what says another name, and what says a name twice: a `dryrun=true` that is passed over would do
// the real thing.
func queryOf(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query of the URL cannot be read: %v", err)
	}
	for name, said := range q {
		switch {
		case slices.Contains(names, name+listed):
		case !slices.Contains(names, name):
			return nil, unknownName(name, names)
		case len(said) > 1:
			return nil, badRequest("the query of the URL says %s %d times, and once is meant", name, len(said))
		}
	}
	return q, nil
}

func unknownName(name string, names []string) *Error {
	if len(names) == 0 {
		return badRequest("the query of the URL says %q, and nothing is asked for here by a query", name)
	}
	known := strings.ReplaceAll(strings.Join(names, ", "), listed, "")
	return badRequest("the query of the URL says %q, which means nothing here: it may say %s", name, known)
}

// readQuery is the query of a read, which may say more.
func readQuery(r *http.Request, more ...string) (url.Values, error) {
	return queryHere(r, append(more, "wait", "after"+listed, "min_position", "stale", "fresh")...)
}

// queryHere is queryOf of what nodes ask each other too, with local=true. What another node says is
// its affair: it may be of a later release.
func queryHere(r *http.Request, names ...string) (url.Values, error) {
	if q, err := url.ParseQuery(r.URL.RawQuery); err == nil && q.Get("local") == "true" {
		return q, nil
	}
	return queryOf(r, names...)
}

// askedByQuery is queryOf of a request that has no body: what was asked for there would be passed
// over, too.
func (s *Server) askedByQuery(w http.ResponseWriter, r *http.Request, names ...string) (url.Values, error) {
	q, err := queryOf(r, names...)
	if err != nil {
		return nil, err
	}
	return q, s.refuseBody(w, r, names...)
}

// refuseBody refuses a body that says something, where only the query does, by these names.
func (s *Server) refuseBody(w http.ResponseWriter, r *http.Request, names ...string) error {
	body, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	if text := string(bytes.TrimSpace(body)); text != "" && text != "{}" {
		return badRequest("nothing is asked for here by a body: the query of the URL may say %s", strings.Join(names, ", "))
	}
	return nil
}

// parseBool reads a part of a query: true, false or left out.
func parseBool(q url.Values, name string) (bool, error) {
	switch text := q.Get(name); {
	case text == "true":
		return true, nil
	case text == "false" || !q.Has(name):
		return false, nil
	default:
		return false, badRequest("%s=%q is neither true nor false", name, text)
	}
}
