"""The OpenAPI document of `/openapi.json`: a description for every row of `proxy.routes`, generated from the models.

`operation` says what a description is, `dialects` and `administration` hold them, `models` has the answers of the
administrative endpoints, `document` puts it all together. Nothing of this is imported before the document is asked for.
"""
