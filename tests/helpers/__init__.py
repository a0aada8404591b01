"""What tests share: builders of models and data, servers, hostile files, independent references."""
