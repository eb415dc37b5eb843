"""The page in gradio, which nothing else of the package needs.

Handlers only carry values between components and the modules beside this one. What they return are
files of the session's folder or plain text, so nothing that was uploaded outlives the session.
"""
