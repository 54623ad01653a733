with

final as (

    select
        dataset.source as source_name,
        missing.column_name,
        missing.reason
    from {{ source('raw', 'not_available') }} as missing
    cross join {{ source('raw', 'dataset') }} as dataset

)

select * from final
