package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tally-kafka/tally/internal/seam"
)

// Scope is what a token may do. The scopes are in order: each may do what the ones before may.
type Scope string

// The scopes.
const (
	Read  Scope = "read"  // ask: status, apps, metrics, get, top, scan, watch
	Admin Scope = "admin" // change: submit, delete, reset, drain, move
)

// Allows says whether a holder of this scope may do what needs the other.
func (s Scope) Allows(needed Scope) bool { return s == Admin || s == Read && needed == Read }

// ParseScope reads a scope.
func ParseScope(text string) (Scope, error) {
	if s := Scope(text); s == Read || s == Admin {
		return s, nil
	}
	return "", fmt.Errorf("the scope %q is none: say read or admin", text)
}

// prefix begins every token, so that people and scanners for secrets know one when they see it.
const prefix = "tally_"

// secretBytes are random; tokenLen is the length of a token, in which they are base64url.
const secretBytes = 32

var tokenLen = len(prefix) + base64.RawURLEncoding.EncodedLen(secretBytes)

// shaped says whether a text could be a token. Nothing of the secret is looked at.
func shaped(text string) bool { return len(text) == tokenLen && strings.HasPrefix(text, prefix) }

// Entry is a token at rest.
type Entry struct {
	Name      string `json:"name"`
	Scope     Scope  `json:"scope"`
	CreatedMs int64  `json:"created_ms"`
	ExpiresMs int64  `json:"expires_ms,omitempty"` // 0: never
	Salt      []byte `json:"salt"`
	SHA256    []byte `json:"sha256"` // of salt and token
}

var entryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._-]{0,99}$`)

// CheckName refuses what cannot be the name of a token.
func CheckName(name string) error {
	if !entryName.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a token: 1 to 100 letters, digits, @, dots, dashes and underscores, the first a letter or a digit", name)
	}
	return nil
}

// check refuses an entry that could not have been written by Create.
func (e Entry) check() error {
	if err := CheckName(e.Name); err != nil {
		return err
	}
	if _, err := ParseScope(string(e.Scope)); err != nil {
		return fmt.Errorf("token %s: %w", e.Name, err)
	}
	if len(e.SHA256) != sha256.Size || len(e.Salt) < 8 {
		return fmt.Errorf("token %s has no hash, or no salt", e.Name)
	}
	return nil
}

// Expired says that the entry is no longer good.
func (e Entry) Expired(now time.Time) bool { return e.ExpiresMs != 0 && now.UnixMilli() >= e.ExpiresMs }

// is compares the hash of a token, with the entry's salt, in constant time.
func (e Entry) is(sum []byte) bool { return subtle.ConstantTimeCompare(sum, e.SHA256) == 1 }

func hash(salt []byte, token string) []byte {
	h := sha256.New()
	h.Write(salt)
	h.Write([]byte(token))
	return h.Sum(nil)
}

// draw makes a token and its entry.
func draw(name string, scope Scope, ttl time.Duration, sm seam.Seam) (string, Entry) {
	secret, salt := make([]byte, secretBytes), make([]byte, 16)
	sm.Rand(secret)
	sm.Rand(salt)
	token := prefix + base64.RawURLEncoding.EncodeToString(secret)
	now := sm.Now()
	e := Entry{Name: name, Scope: scope, CreatedMs: now.UnixMilli(), Salt: salt, SHA256: hash(salt, token)}
	if ttl > 0 {
		e.ExpiresMs = now.Add(ttl).UnixMilli()
	}
	return token, e
}
