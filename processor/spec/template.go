package spec

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed templates/*.yaml
var templates embed.FS

// TemplateNames lists the starter specs, the first to try first.
func TemplateNames() []string { return []string{"wordcount", "sum", "json"} }

// Template is a commented starter spec.
func Template(name string) ([]byte, error) {
	if !contains(TemplateNames(), name) {
		return nil, fmt.Errorf("no starter spec %q: there are %s", name, strings.Join(TemplateNames(), ", "))
	}
	return templates.ReadFile("templates/" + name + ".yaml")
}
