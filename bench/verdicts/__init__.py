"""How often verdicts are wrong, and how fast they are right: the evidence engine beside other systems' rules.

`python -m bench.verdicts` draws made-up traffic with fixed seeds (`kinds`, `traffic`), plays whole attempts on it with
the real engine (`attempt`) and with the rules of Argo Rollouts and Flagger (`rules`), measures how soon each limit is
found broken beside the bound that no test can beat (`detection`, `bounds`) and what an evaluation costs (`cost`), and
writes it all as JSON (`results`) and Markdown with plots (`report`). What was played is kept (`ledger`), so that a long
run can be cut into pieces (`play`).
"""
