"""Holds a JUnit report against the schema of Jenkins: which elements stand in which, with what.

usage: junit_schema.py SCHEMA REPORT
Prints the number of test cases; ends with 1 and a complaint where the report is not of the schema.
"""

import re
import sys
import xml.etree.ElementTree as ElementTree

XS = "{http://www.w3.org/2001/XMLSchema}"


def read_schema(path):
    """For each element: its attributes (name: required, pattern), and the elements in it."""
    root = ElementTree.parse(path).getroot()
    patterns = {
        simple.get("name"): simple.find(f".//{XS}pattern").get("value")
        for simple in root.findall(f"{XS}simpleType")
    }
    elements = {}
    for element in root.findall(f"{XS}element"):
        attributes = {
            attribute.get("name"): (
                attribute.get("use") == "required",
                patterns.get(attribute.get("type")),
            )
            for attribute in element.iter(f"{XS}attribute")
        }
        inside = {child.get("ref") for child in element.iter(f"{XS}element") if child.get("ref")}
        elements[element.get("name")] = attributes, inside
    return elements


def check(element, elements):
    if element.tag not in elements:
        sys.exit(f"<{element.tag}> is no element of the schema")
    attributes, inside = elements[element.tag]
    for name, value in element.attrib.items():
        if name not in attributes:
            sys.exit(f"<{element.tag}> has no attribute {name}")
        pattern = attributes[name][1]
        if pattern and not re.fullmatch(pattern, value):
            sys.exit(f"{name}={value!r} is not of the form {pattern}")
    for name, (required, _) in attributes.items():
        if required and name not in element.attrib:
            sys.exit(f"<{element.tag}> lacks {name}")
    for child in element:
        if child.tag not in inside:
            sys.exit(f"<{child.tag}> does not stand in <{element.tag}>")
        check(child, elements)


schema, report = sys.argv[1:]
root = ElementTree.parse(report).getroot()
check(root, read_schema(schema))
cases = root.findall(".//testcase")
for suite in root.findall(".//testsuite"):
    counts = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in counts.items():
        counted = len(suite.findall(f".//{tag}"))
        if int(suite.get(attribute)) != counted:
            sys.exit(f"{attribute} is {suite.get(attribute)}, and there are {counted}")
print(len(cases))
