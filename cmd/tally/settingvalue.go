package main

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// settingValue is what the config file says of a flag: one text for each time that it is given.
type settingValue []string

// UnmarshalYAML reads a list, or one text. Of a key without a value ("zone:") it is not called.
func (v *settingValue) UnmarshalYAML(read func(any) error) error {
	var node ast.Node
	if err := read(&node); err != nil {
		return err
	}
	texts := make([]settingText, 1)
	var err error
	if _, isList := node.(*ast.SequenceNode); isList {
		err = read(&texts)
	} else {
		err = read(&texts[0])
	}
	*v = make(settingValue, len(texts)) // of an empty list it is not nil
	for i, text := range texts {
		(*v)[i] = string(text)
	}
	return err
}

// settingText is a value as it stands in the file: for YAML 1.10 is the number 1.1, and 010 is 8,
// but as a name or a zone they are what the person wrote.
type settingText string

// UnmarshalYAML takes the text of a node.
func (s *settingText) UnmarshalYAML(n ast.Node) error {
	switch n := n.(type) {
	case *ast.TagNode:
		if n.Value != nil {
			return s.UnmarshalYAML(n.Value)
		}
	case *ast.StringNode:
		*s = settingText(n.Value)
	case *ast.LiteralNode:
		*s = settingText(n.Value.Value)
	case *ast.NullNode:
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		*s = settingText(n.GetToken().Value)
	default:
		return fmt.Errorf("line %d: a value is a text, a number or a list of them", n.GetToken().Position.Line)
	}
	return nil
}
