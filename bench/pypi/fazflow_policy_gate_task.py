"""fazflow-policy-gate: Cedar, an engine of policies in Rust. Loads some, right and wrong, and asks for a verdict."""

from fazflow_policy_gate import PolicyGate, PolicyGateError

POLICIES = "".join(f'@id("{layer}") permit (principal is {layer}, action, resource);\n' for layer in ("User", "Agent"))
REQUEST = {
    "user": 'User::"u"',
    "agent": 'Agent::"a"',
    "action": "Tool::query",
    "resource": 'Dataset::"notes"',
    "context": {"risk": 1},
    "entities": [],
}

gate = PolicyGate.load()
print(gate.version())
for policies in (POLICIES, "permit (princ"):
    try:
        print(gate.load_bundle({"versao": "v1", "politicas": policies}))
        print(gate.evaluate_raw('{"user": 1}'))
        print(gate.evaluate(REQUEST))
    except PolicyGateError as error:
        print(error)
