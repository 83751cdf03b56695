//! OpenAI's embeddings by the models of Bedrock: Titan, Cohere, Nova. Not built yet.
