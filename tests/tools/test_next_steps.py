"""The command that a report ends with."""

import pathlib

import next_steps


def test_a_command_asks_with_as_many_pairs_as_the_task_has():
    run = pathlib.Path("my run")
    what, command = next_steps.ask(run / "model", run / "tokenizer", run, 6, 0.5)
    assert "pictures of your own" in what
    assert "--model='my run/model' --tokenizer='my run/tokenizer'" in command
    assert "--images question1.png answer1.png question2.png answer2.png query.png" in command
    assert "--temperature=0.5" in command and "--out='my run/answer.png'" in command
